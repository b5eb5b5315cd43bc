"""Measures how long a backbone takes, whole and part by part, on the device at hand.

The parts are timed inside whole forward passes, so caches and queues are as they are in use, and by
whatever computes the pass: it marks the end of each part (:data:`MarkedPass`). The settings to
compare take turns within one run, so a machine that slows down slows all of them.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from random import Random
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.search.cost import BackboneShape, LatencyTable
from sparse_mm.search.space import Candidate, RatioSpace

DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}
Progress = Callable[[int, int], None]
# Runs a pass of a backbone on images, and calls a mark with the name of each part at its end:
# ('stem',), ('stage', i) for what a stage does outside its blocks, ('block', i, j).
MarkedPass = Callable[[nn.Module, Tensor, Callable[[tuple], None]], None]


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    middle = ordered[cut : len(ordered) - cut]
    return sum(middle) / len(middle)


class Stopwatch:
    """Takes times on a device without waiting for it.

    Args:
        device: On CUDA the times are events in its queue; elsewhere the host's clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == 'cuda'

    def mark(self) -> Any:
        """Takes the time."""
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        """Milliseconds between two marks; on CUDA, after :meth:`wait`."""
        return start.elapsed_time(end) if self.cuda else (end - start) * 1e3

    def wait(self) -> None:
        """Lets the device finish its queue."""
        if self.cuda:
            torch.cuda.synchronize()


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
def _for_timing(backbone: nn.Module) -> Iterator[None]:
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
    """Images ``(B, 3, H, W)``, the same in every call, without touching the global generator."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape.batch, 3, *shape.image_size, generator=generator).to(device)


def rounds_in_turns(
    runs: Sequence[Callable[[], Any]],
    device: torch.device,
    seconds: float = 20.0,
    repeats: tuple[int, int] = (5, 300),
) -> list[list[float]]:
    """Times several functions in turns, in another order every round.

    Args:
        runs: What to time.
        device: Where it computes.
        seconds: About how long to measure in all.
        repeats: The least and the most rounds.

    Returns:
        For each round the milliseconds of each function, as the clock gave them.
    """
    watch = Stopwatch(device)
    order = list(range(len(runs)))
    rng = Random(0)

    def run_round() -> list[float]:
        marks: list[Any] = [None] * len(runs)
        rng.shuffle(order)
        for index in order:
            start = watch.mark()
            runs[index]()
            marks[index] = start, watch.mark()
        watch.wait()
        return [watch.milliseconds(*pair) for pair in marks]

    return [run_round() for _ in range(_count_rounds(run_round, watch, seconds, repeats))]


def time_in_turns(
    runs: Sequence[Callable[[], Any]],
    device: torch.device,
    seconds: float = 20.0,
    repeats: tuple[int, int] = (5, 300),
) -> list[list[float]]:
    """As :func:`rounds_in_turns`, but without the machine's moods.

    Returns:
        For each function its milliseconds, round by round; a round in which the machine was slower
        than usual is scaled down, as a whole, to the usual.
    """
    rounds = rounds_in_turns(runs, device, seconds, repeats)
    usual = median(sum(times) for times in rounds)
    return [[times[i] * usual / sum(times) for times in rounds] for i in range(len(runs))]


def _count_rounds(
    run_round: Callable[[], Any], watch: Stopwatch, seconds: float, repeats: tuple[int, int]
) -> int:
    """Warms up, and tells how many rounds the time allows."""
    run_round()  # builds caches
    began = time.perf_counter()
    run_round()
    least, most = repeats
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
        Interquartile means in milliseconds, one for each setting.
    """
    device = next(backbone.parameters()).device
    images = random_images(shape, device)

    context = autocast(device, dtype)

    def run(setting: Any) -> None:
        backbone.override_ratios(0 if setting is None else setting)  # type: ignore[operator]
        with context:  # for each pass anew, since it keeps what it has cast while it is open
            backbone(images)

    with _for_timing(backbone):
        runs = [partial(run, setting) for setting in settings]
        times = time_in_turns(runs, device, seconds, repeats)
    return [interquartile_mean(values) for values in times]


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
) -> LatencyTable:
    """Measures the parts of a backbone for every ratio of a space.

    Args:
        backbone: A :class:`~sparse_mm.models.SparseViT` on the device to measure.
        shape: Its image size and batch.
        space: The ratios.
        run: How a pass is computed (:func:`sparse_mm.models.executors.marked_pass`).
        dtype: ``'float32'``, or autocast to ``'float16'`` or ``'bfloat16'``.
        seconds: About how long to measure in all.
        repeats: The least and the most passes for each ratio.
        progress: Called with rounds done and rounds in all.
        checks: Settings that are measured whole in the same rounds, to compare the sums with.

    Returns:
        The table; its conditions say how it was measured.
    """
    ratios = sorted({0.0, *(choice for choices in space.choices for choice in choices)})
    settings = [*ratios, *checks]
    rounds = _time_rounds(backbone, shape, settings, run, dtype, seconds, repeats, progress)

    samples: dict[Any, list[float]] = defaultdict(list)
    for passes in rounds:
        for ratio, timed in zip(ratios, passes, strict=False):
            for i, stage in enumerate(shape.stages):
                for j, size in enumerate(stage.pair_sizes()):
                    pair = sum(timed['block', i, 2 * j + b] for b in range(size))
                    samples['pair', i, j, stage.kept(ratio)].append(pair)
                samples['rest', i, ratio > 0].append(timed['stage', i])
            samples['stem'].append(timed['stem',])
        for check, timed in zip(checks, passes[len(ratios) :], strict=True):
            samples[check].append(sum(timed.values()))
    means = {key: interquartile_mean(values) for key, values in samples.items()}

    described = [
        dict(
            dense_ms=means['rest', i, False],
            sparse_ms=means.get(('rest', i, True), means['rest', i, False]),
            pairs=[
                {kept: means['pair', i, j, kept] for kept in map(stage.kept, ratios)}
                for j in range(len(stage.pair_sizes()))
            ],
        )
        for i, stage in enumerate(shape.stages)
    ]
    device = next(backbone.parameters()).device
    return LatencyTable(
        image_size=shape.image_size,
        batch=shape.batch,
        stem_ms=means['stem'],
        stages=described,
        windows=[stage.num_windows for stage in shape.stages],
        channels=[stage.channels for stage in shape.stages],
        conditions=dict(describe_device(device), dtype=dtype, rounds=len(rounds)),
        checks=[(check, means[check]) for check in checks],
    )


def describe_device(device: torch.device) -> dict[str, Any]:
    """Device, threads and version, for people."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
    return dict(device=name, threads=torch.get_num_threads(), torch=torch.__version__)


def _time_rounds(
    backbone: nn.Module,
    shape: BackboneShape,
    settings: Sequence[Any],
    run: MarkedPass,
    dtype: str,
    seconds: float,
    repeats: tuple[int, int],
    progress: Progress | None = None,
) -> list[list[dict[tuple, float]]]:
    """Runs the backbone with each setting in turn, in another order every round.

    Returns:
        For each round and setting the milliseconds of each part, whose sum is the whole pass. A
        round in which the machine was slower than usual is scaled down, as a whole, to the usual.
    """
    device = next(backbone.parameters()).device
    watch = Stopwatch(device)
    context = autocast(device, dtype)
    images = random_images(shape, device)
    order = list(range(len(settings)))
    rng = Random(0)

    def mark(marks: list[tuple[tuple, Any]], part: tuple) -> None:
        marks.append((part, watch.mark()))

    def run_round() -> list[dict[tuple, float]]:
        taken: dict[int, list[tuple[tuple, Any]]] = {}
        rng.shuffle(order)
        for index in order:
            backbone.override_ratios(settings[index])  # type: ignore[operator]
            taken[index] = [((), watch.mark())]
            with context:
                run(backbone, images, partial(mark, taken[index]))
        watch.wait()
        return [_part_times(taken[index], watch) for index in range(len(settings))]

    rounds = []
    with _for_timing(backbone):
        count = _count_rounds(run_round, watch, seconds, repeats)
        for done in range(1, count + 1):
            rounds.append(run_round())
            if progress is not None:
                progress(done, count)
    totals = [sum(sum(timed.values()) for timed in passes) for passes in rounds]
    usual = median(totals)
    return [
        [{part: ms * usual / total for part, ms in timed.items()} for timed in passes]
        for passes, total in zip(rounds, totals, strict=True)
    ]


def _part_times(marks: Sequence[tuple[tuple, Any]], watch: Stopwatch) -> dict[tuple, float]:
    """Adds up the milliseconds before each mark, part by part."""
    times: dict[tuple, float] = defaultdict(float)
    for (_, start), (part, end) in pairwise(marks):
        times[part] += watch.milliseconds(start, end)
    return times
