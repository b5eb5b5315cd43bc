"""A table that is fitted to whole passes reproduces them if costs are additive."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from sparse_mm.search.cost import BackboneShape, CostModel, LatencyTable, StageShape
from sparse_mm.search.space import RatioSpace
from sparse_mm.search.whole_passes import checks_of, fit, measure_whole_table, settings_to_measure

STAGES = (
    StageShape(2, 100, 49, 96, 384, 10),
    StageShape(3, 30, 49, 192, 768, 10),
    StageShape(2, 1, 49, 384, 1536, 0),  # a single window is always kept
)
SHAPE = BackboneShape((280, 280), 2, 10, STAGES)
SPACE = RatioSpace.build([2, 3, 2], [0.0, 0.2, 0.4, 0.6])
PER_WINDOW, CHOOSING = (0.02, 0.1, 0.3), (0.7, 0.4, 0.0)


def passes(candidate):
    """An engine whose costs add up: the stem, choosing windows, so much a window and block."""
    total = 5.0
    for stage, ratios, price, choosing in zip(STAGES, candidate, PER_WINDOW, CHOOSING, strict=True):
        for ratio, blocks in zip(ratios, stage.pair_sizes(), strict=True):
            total += price * blocks * stage.kept(ratio)
        total += choosing * (stage.kept(ratios[-1]) < stage.num_windows)
    return total


def fitted():
    alone = [{own: passes(own) for own in stage} for stage in settings_to_measure(SHAPE, SPACE)]
    return fit(SHAPE, SPACE, passes(SPACE.dense), alone)


def test_what_is_measured():
    first, second, third = settings_to_measure(SHAPE, SPACE)
    assert [stage[0] for stage in first] == [(0.2,), (0.6,)] or len(first) == 2
    assert all(set(own[1]) == {0.0} for own in first)
    assert all(own[0] == (0.0,) and len(set(own[1])) == 1 for own in second)
    assert third == []
    assert checks_of(SPACE)[-1] == SPACE.most


def test_sums_are_those_of_the_engine(tmp_path):
    path = tmp_path / 'table.json'
    path.write_text(fitted().to_json())
    costs = CostModel(SHAPE, SPACE, LatencyTable.read(path))
    for candidate in SPACE:
        if candidate[2][0] > 0:  # its single window stays, which a ratio does not show
            continue
        assert costs.ms(candidate) == pytest.approx(passes(candidate))


def test_noise_makes_no_window_cost_less_than_nothing():
    alone = [
        {own: passes(SPACE.dense) + 3 * i for i, own in enumerate(stage)}
        for stage in settings_to_measure(SHAPE, SPACE)
    ]
    table = fit(SHAPE, SPACE, passes(SPACE.dense), [dict(reversed(a.items())) for a in alone])
    for stage in table.stages:
        for pair in stage['pairs']:
            times = [pair[kept] for kept in sorted(pair)]
            assert times == sorted(times)


class Working(nn.Module):
    """An engine: computes for as long as its windows take, on a thread of its own, and waits."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.pool = ThreadPoolExecutor(1)
        self.threads = set()

    def override_ratios(self, ratios):
        self.ratios = SPACE.dense if ratios is None else ratios

    def forward(self, images):
        self.threads.add(torch.get_num_threads())
        time.sleep(0.01)  # as if another program used the core

        def work():
            end = time.thread_time() + passes(self.ratios) / 1e4
            while time.thread_time() < end:
                pass

        self.pool.submit(work).result()


def test_on_a_busy_machine_graphs_of_one_thread_are_measured_in_cpu_time():
    engine, threads = Working(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        table = measure_whole_table(engine, SHAPE, SPACE, 0.01, (4, 4), clock='cpu')
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert engine.threads == {1}
    assert table.conditions['clock'] == 'cpu'
    assert table.conditions['threads'] == 2  # for which it stands
    (dense, ms), *_ = table.checks
    assert dense == SPACE.dense
    # Neither the wait nor a second thread counts; the bound leaves room for the loop's own time.
    assert passes(dense) / 20 <= ms < passes(dense) / 20 + 4
