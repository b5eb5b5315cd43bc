"""Measures how long a backbone takes, whole and component by component, on this device.

The components are timed inside whole forward passes, so caches and queues are as in normal use. The
code that computes the pass marks the end of each component (:data:`MarkedPass`). The settings to
compare take turns within one run, so a machine that slows down slows all of them.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from math import inf
from random import Random
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.search.cost import BackboneShape, LatencyTable
from sparse_mm.search.estimate import (
    StoppingRule,
    fastest_eighth,
    part_times,
    pass_times,
    shared_by_threads,
    spread,
)
from sparse_mm.search.space import Candidate, RatioSpace
from sparse_mm.search.stopwatch import Stopwatch, one_thread

DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}
Progress = Callable[[int, int], None]
# Runs a pass of a backbone on images, and calls a mark with the name of each component at its end:
# ('stem',), ('stage', i) for what a stage does outside its blocks, ('block', i, j).
MarkedPass = Callable[[nn.Module, Tensor, Callable[[tuple], None]], None]


def autocast(device: torch.device, dtype: str) -> AbstractContextManager:
    """The context in which a forward pass runs in ``dtype``.

    Raises:
        BadInputError: It is not the name of a dtype to measure with.
    """
    if dtype not in DTYPES:
        raise BadInputError(f'dtype must be one of {", ".join(DTYPES)}, not {dtype!r}.')
    if dtype == 'float32':
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[dtype])


@contextmanager
def for_timing(backbone: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and everything as before afterwards."""
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        backbone.override_ratios(None)  # type: ignore[operator]


def random_images(shape: BackboneShape, device: torch.device) -> Tensor:
    """Images ``(B, C, H, W)``, the same in every call, without touching the global generator."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape.batch, shape.in_channels, *shape.image_size, generator=generator).to(
        device
    )


def rounds_in_turns(
    runs: Sequence[Callable[[], Any]],
    device: torch.device,
    seconds: float = 20.0,
    repeats: tuple[int, int] = (5, 300),
    progress: Progress | None = None,
    settled: bool = False,
    clock: str = 'wall',
) -> list[list[float]]:
    """Times several functions in turns, in another order every round, each on an idle device.

    Args:
        runs: What to time.
        device: Where it computes.
        seconds: About how long to measure in all.
        repeats: The least and the most rounds.
        progress: Called after each function with how many have run and, as far as is known, how
            many will.
        settled: Whether nothing is compiled in a first round; a short time then has no second one.
        clock: Of :class:`~sparse_mm.search.stopwatch.Stopwatch`.

    Returns:
        For each round the milliseconds of each function, as the clock gave them.
    """
    watch = Stopwatch(device, clock)
    order = list(range(len(runs)))
    rng = Random(0)
    done, expected = 0, len(runs) * (2 + repeats[0])

    def run_round() -> list[float]:
        nonlocal done
        marks: list[Any] = [None] * len(runs)
        rng.shuffle(order)
        for index in order:
            watch.wait()  # a queue of work would hide what the host takes
            start = watch.mark()
            runs[index]()
            marks[index] = start, watch.mark()
            done += 1
            if progress is not None:
                progress(done, max(done, expected))
        watch.wait()
        return [watch.milliseconds(*pair) for pair in marks]

    count = _count_rounds(run_round, watch, seconds, repeats, settled)
    expected = done + len(runs) * count
    return [run_round() for _ in range(count)]


def _count_rounds(
    run_round: Callable[[], Any],
    watch: Stopwatch,
    seconds: float,
    repeats: tuple[int, int],
    settled: bool = False,
) -> int:
    """Warms up, and returns how many rounds the time allows."""
    least, most = repeats
    began = time.perf_counter()
    run_round()  # builds caches
    if settled and (time.perf_counter() - began) * least >= seconds:
        return least
    began = time.perf_counter()
    run_round()
    count = min(max(int(seconds / (time.perf_counter() - began)), least), most)
    # On CUDA, clocks and caches settle over a longer warm-up.
    for _ in range(count // 2 if watch.cuda else 0):
        run_round()
    return count


def measure_whole(
    backbone: nn.Module,
    shape: BackboneShape,
    settings: Sequence[Any],
    dtype: str = 'float32',
    seconds: float = 20.0,
    repeats: tuple[int, int] = (5, 300),
) -> list[float]:
    """Measures whole forward passes with each of several ratio settings, in turns.

    Args:
        backbone: A :class:`~sparse_mm.models.SparseViT` on the device to measure.
        shape: Its image size and batch.
        settings: What ``override_ratios`` takes, or None for dense.
        dtype: ``'float32'``, or autocast to ``'float16'`` or ``'bfloat16'``.
        seconds: About how long to measure in all.
        repeats: The least and the most passes of each setting.

    Returns:
        Milliseconds, one for each setting: the fastest eighth of its passes, on average, so that
        other programs hardly affect it.
    """
    device = next(backbone.parameters()).device
    images = random_images(shape, device)

    context = autocast(device, dtype)

    def run(setting: Any) -> None:
        backbone.override_ratios(0 if setting is None else setting)  # type: ignore[operator]
        with context:  # for each pass anew, since it keeps what it has cast while it is open
            backbone(images)

    with for_timing(backbone):
        runs = [partial(run, setting) for setting in settings]
        rounds = rounds_in_turns(runs, device, seconds, repeats)
    return [fastest_eighth(values) for values in zip(*rounds, strict=True)]


def measure_table(
    backbone: nn.Module,
    shape: BackboneShape,
    space: RatioSpace,
    run: MarkedPass,
    dtype: str = 'float32',
    seconds: float = 60.0,
    repeats: tuple[int, int] = (5, 300),
    progress: Progress | None = None,
    checks: Sequence[Candidate] = (),
    clock: str = 'wall',
    hopeless: float = inf,
) -> LatencyTable:
    """Measures the components of a backbone for every ratio of a space.

    Measuring goes on until the estimate is stable (:mod:`sparse_mm.search.estimate`), within
    bounds; the table's conditions say how far two halves of the rounds disagree (``spread``), by
    which ``clock``, and how long a dense pass takes by it and in CPU time of this process
    (``dense_ms``).

    Args:
        backbone: A :class:`~sparse_mm.models.SparseViT` on the device to measure.
        shape: Its image size and batch.
        space: The ratios.
        run: How a pass is computed (:func:`sparse_mm.models.executors.marked_pass`).
        dtype: ``'float32'``, or autocast to ``'float16'`` or ``'bfloat16'``.
        seconds: About how long to measure in all; up to four times as long on a busy machine.
        repeats: The least and the most passes for each ratio.
        progress: Called with rounds done and rounds in all.
        checks: Settings that are measured whole in the same rounds, to compare the sums with.
        clock: ``'wall'``, or ``'cpu'`` on a busy CPU, where wall times of several threads are
            useless: the CPU time of one thread, converted to the number of threads.
        hopeless: A spread at which measuring ends after ``seconds``, without patience.

    Returns:
        The table; its conditions say how it was measured.
    """
    ratios = sorted({0.0, *(choice for choices in space.choices for choice in choices)})
    settings = [*ratios, *checks]
    rule = StoppingRule(seconds, repeats, hopeless=hopeless)
    # The checks are whole passes, as they are used, whose components are not marked.
    runs = [run] * len(ratios) + [_unmarked] * len(checks)
    with one_thread() if clock == 'cpu' else nullcontext():
        rounds, cpu = _time_rounds(backbone, shape, settings, runs, dtype, rule, progress, clock)
    threads = torch.get_num_threads() if clock == 'cpu' else 1  # to share what was timed

    samples: dict[Any, list[float]] = defaultdict(list)
    for ratio, timed in zip(ratios, part_times(rounds), strict=False):
        for i, stage in enumerate(shape.stages):
            for j, size in enumerate(stage.pair_sizes()):
                pair = sum(timed['block', i, 2 * j + b] for b in range(size))
                samples['pair', i, j, stage.kept(ratio)].append(pair)
            samples['rest', i, ratio > 0].append(timed['stage', i])
        samples['stem'].append(timed['stem',])
    means = {key: mean(values) for key, values in samples.items()}
    whole = pass_times(rounds)

    described = [
        dict(
            dense_ms=means['rest', i, False] / threads,
            sparse_ms=means.get(('rest', i, True), means['rest', i, False]) / threads,
            pairs=[
                shared_by_threads(
                    {kept: means['pair', i, j, kept] for kept in map(stage.kept, ratios)}, threads
                )
                for j in range(len(stage.pair_sizes()))
            ],
        )
        for i, stage in enumerate(shape.stages)
    ]
    return LatencyTable(
        image_size=shape.image_size,
        batch=shape.batch,
        stem_ms=means['stem'] / threads,
        stages=described,
        windows=[stage.num_windows for stage in shape.stages],
        channels=[stage.channels for stage in shape.stages],
        conditions=dict(
            describe_device(next(backbone.parameters()).device),
            dtype=dtype,
            clock=clock,
            rounds=len(rounds),
            spread=round(spread(rounds), 4) if len(rounds) >= 4 else None,
            dense_ms={'cpu': fastest_eighth(cpu), clock: whole[0]},
        ),
        checks=list(zip(checks, whole[len(ratios) :], strict=True)),
    )


def describe_device(device: torch.device) -> dict[str, Any]:
    """Device, threads and version, for people."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
    return dict(device=name, threads=torch.get_num_threads(), torch=torch.__version__)


def _time_rounds(
    backbone: nn.Module,
    shape: BackboneShape,
    settings: Sequence[Any],
    runs: Sequence[MarkedPass],
    dtype: str,
    rule: StoppingRule,
    progress: Progress | None = None,
    clock: str = 'wall',
) -> tuple[list[list[dict[tuple, float]]], list[float]]:
    """Runs the backbone with each setting in turn, each in its way, in another order every round.

    Returns:
        For each round and setting the milliseconds of each component, whose sum is the whole pass;
        and for each round the milliseconds of CPU time that the first setting took.
    """
    device = next(backbone.parameters()).device
    watch = Stopwatch(device, clock)
    context = autocast(device, dtype)
    images = random_images(shape, device)
    order = list(range(len(settings)))
    rng = Random(0)

    def mark(marks: list[tuple[tuple, Any]], part: tuple) -> None:
        marks.append((part, watch.mark()))

    cpu: list[float] = []

    def run_round() -> list[dict[tuple, float]]:
        taken: dict[int, list[tuple[tuple, Any]]] = {}
        rng.shuffle(order)
        for index in order:
            backbone.override_ratios(settings[index])  # type: ignore[operator]
            watch.wait()  # a queue of work would hide what the host takes
            began = time.process_time()
            taken[index] = [((), watch.mark())]
            with context:
                runs[index](backbone, images, partial(mark, taken[index]))
            if index == 0:
                cpu.append((time.process_time() - began) * 1e3)
        watch.wait()
        return [_part_times(taken[index], watch) for index in range(len(settings))]

    rounds: list[list[dict[tuple, float]]] = []
    with for_timing(backbone):
        expected = _count_rounds(run_round, watch, rule.seconds, rule.repeats)
        cpu.clear()  # of the warm-up
        began, looked, found = time.perf_counter(), 0, inf
        while not rule.done(len(rounds), time.perf_counter() - began, found):
            rounds.append(run_round())
            # This check takes as long as a pass of a small model, so it runs once per tenth more
            # rounds.
            if len(rounds) >= max(4, 1.1 * looked):
                looked, found = len(rounds), spread(rounds)
            if progress is not None:
                progress(len(rounds), max(expected, len(rounds)))
    return rounds, cpu


def _unmarked(backbone: nn.Module, images: Tensor, mark: Callable[[tuple], None]) -> None:
    backbone(images)
    mark(('whole',))


def _part_times(marks: Sequence[tuple[tuple, Any]], watch: Stopwatch) -> dict[tuple, float]:
    """Adds up the milliseconds before each mark, for each component."""
    times: dict[tuple, float] = defaultdict(float)
    for (_, start), (part, end) in pairwise(marks):
        times[part] += watch.milliseconds(start, end)
    return times
