"""A latency table of an engine that computes whole graphs, whose components cannot be marked.

Whole passes of a few settings are measured: dense, and two of each stage in which that stage alone
leaves windows out. A straight line through the two says what a window of the stage costs; where it
meets all windows, beyond the dense pass, is what choosing windows costs. Further settings are
measured to say how far the sums can be trusted.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn

from sparse_mm.search.cost import BackboneShape, CostModel, LatencyTable, StageShape
from sparse_mm.search.estimate import fastest_eighth
from sparse_mm.search.space import Candidate, RatioSpace
from sparse_mm.search.stopwatch import one_thread
from sparse_mm.search.timing import (
    Progress,
    describe_device,
    for_timing,
    random_images,
    rounds_in_turns,
)


def settings_to_measure(shape: BackboneShape, space: RatioSpace) -> list[list[Candidate]]:
    """For each stage the settings in which it alone is pruned: two, or fewer if there are none.

    Args:
        shape: The backbone.
        space: Its ratios.
    """
    found = []
    for i, (stage, choices) in enumerate(zip(shape.stages, space.choices, strict=True)):
        # One ratio for each number of windows that is left, from the most to the least.
        by_kept = {stage.kept(ratio): ratio for ratio in sorted(choices, reverse=True)}
        by_kept.pop(stage.num_windows, None)
        kept = sorted(by_kept, reverse=True)
        wanted = [kept[(len(kept) - 1) // 2], kept[-1]] if len(kept) > 1 else kept
        found.append([_alone(space, i, by_kept[k]) for k in dict.fromkeys(wanted)])
    return found


def checks_of(space: RatioSpace) -> list[Candidate]:
    """Settings in which all stages are pruned, to compare the sums with."""
    uniform = space.uniform()
    return [uniform[(len(uniform) - 1) // 2], space.most]


def measure_whole_table(
    backbone: nn.Module,
    shape: BackboneShape,
    space: RatioSpace,
    seconds: float = 60.0,
    repeats: tuple[int, int] = (5, 300),
    progress: Progress | None = None,
    clock: str = 'wall',
) -> LatencyTable:
    """Measures a backbone's latencies by whole passes.

    Each setting takes turns with the dense one, so that a machine that changes its pace does so for
    both, and no more than two graphs are held at a time.

    Args:
        backbone: Takes ``override_ratios``, and images in float32; on the device to measure.
        shape: Its image size and batch.
        space: The ratios.
        seconds: About how long to measure, without what it takes to make the graphs.
        repeats: The least and the most passes of each setting.
        progress: Called with settings done and settings in all.
        clock: ``'wall'``, or ``'cpu'`` on a busy CPU, where wall times of several threads are
            useless: graphs of one thread are made, and their CPU time is divided by the number of
            threads.

    Returns:
        The table. Its conditions have ``fit_error``, the largest error of a sum, and ``spread``,
        how far two halves of the passes disagree; its checks are what the error is of.
    """
    alone = settings_to_measure(shape, space)
    checks = checks_of(space)
    settings = list(dict.fromkeys([*(own for stage in alone for own in stage), *checks]))
    device = next(backbone.parameters()).device
    images = random_images(shape, device)

    def run(ratios: Candidate) -> None:
        backbone.override_ratios(ratios)  # type: ignore[operator]
        backbone(images)

    taken: list[tuple[list[float], list[float]]] = []
    by_cpu = clock == 'cpu'
    # Engines compute on threads of their own, which the calling thread's time does not include.
    timer = 'process' if by_cpu else clock
    with one_thread() if by_cpu else nullcontext(), for_timing(backbone):
        for done, setting in enumerate(settings):
            if progress is not None:
                progress(done, len(settings))
            passes = [partial(run, space.dense), partial(run, setting)]
            rounds = rounds_in_turns(passes, device, seconds / len(settings), repeats, clock=timer)
            dense_times, own_times = map(list, zip(*rounds, strict=True))
            taken.append((dense_times, own_times))
    if progress is not None:
        progress(len(settings), len(settings))

    threads = torch.get_num_threads() if by_cpu else 1  # to share what was timed
    dense = median(fastest_eighth(times) for times, _ in taken) / threads
    whole = {
        setting: dense * fastest_eighth(own) / fastest_eighth(beside)
        for setting, (beside, own) in zip(settings, taken, strict=True)
    }
    table = fit(shape, space, dense, [{own: whole[own] for own in stage} for stage in alone])
    table.checks.extend([(space.dense, dense), *((own, whole[own]) for own in checks)])
    costs = CostModel(shape, space, table)
    table.conditions.update(
        describe_device(device),
        clock=clock,
        rounds=min(len(own) for _, own in taken),
        spread=round(max(_disagreement(*pair) for pair in taken), 4),
        fit_error=round(max(abs(costs.ms(own) / ms - 1) for own, ms in table.checks), 4),
        fitted_to=f'whole passes of {1 + sum(map(len, alone))} settings',
    )
    return table


def fit(
    shape: BackboneShape,
    space: RatioSpace,
    dense_ms: float,
    alone: Sequence[dict[Candidate, float]],
) -> LatencyTable:
    """Makes a table of whole passes.

    Args:
        shape: The backbone.
        space: Its ratios.
        dense_ms: Of the dense pass.
        alone: For each stage, the milliseconds of passes in which it alone leaves windows out.
    """
    stages: list[dict[str, Any]] = []
    in_blocks = 0.0
    for i, (stage, measured) in enumerate(zip(shape.stages, alone, strict=True)):
        points = sorted((stage.kept(own[i][0]), ms) for own, ms in measured.items())
        slope, at_all = _line(points, stage.num_windows, dense_ms)
        in_blocks += slope * stage.num_windows
        stages.append(
            dict(dense_ms=0.0, sparse_ms=at_all - dense_ms, pairs=_pairs(stage, space, i, slope))
        )
    return LatencyTable(
        image_size=shape.image_size,
        batch=shape.batch,
        stem_ms=dense_ms - in_blocks,
        stages=stages,
        windows=[stage.num_windows for stage in shape.stages],
        channels=[stage.channels for stage in shape.stages],
    )


def _line(
    points: Sequence[tuple[int, float]], windows: int, dense_ms: float
) -> tuple[float, float]:
    """Milliseconds that a window of each block adds, and where the line meets all windows."""
    if not points:
        return 0.0, dense_ms
    least, ms = points[0]
    further, longer = points[-1] if len(points) > 1 else (windows, dense_ms)
    slope = max(0.0, (longer - ms) / (further - least))  # nothing gets faster with more windows
    return slope, ms + slope * (windows - least)


def _pairs(stage: StageShape, space: RatioSpace, i: int, slope: float) -> list[dict[int, float]]:
    """Shares out what a window costs to the pairs of blocks, evenly by their blocks."""
    kept = {stage.kept(ratio) for ratio in (0.0, *space.choices[i])}
    shares = [size / stage.depth for size in stage.pair_sizes()]
    return [{k: slope * k * share for k in sorted(kept)} for share in shares]


def _alone(space: RatioSpace, i: int, ratio: float) -> Candidate:
    return tuple((ratio if j == i else 0.0,) * pairs for j, pairs in enumerate(space.num_pairs))


def _disagreement(dense: Sequence[float], own: Sequence[float]) -> float:
    """How far two halves of the rounds disagree about how much faster a setting is."""
    first, second = (
        fastest_eighth(own[half::2]) / fastest_eighth(dense[half::2]) for half in (0, 1)
    )
    return max(first, second) / min(first, second) - 1
