"""Costs: exact MACs, and latencies as sums of a table, compared with whole passes."""

import json
import time
from dataclasses import replace
from random import Random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sparse_mm.engine.inspection import backbone_shape
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT
from sparse_mm.models.executors import marked_pass
from sparse_mm.search.budget import Budget
from sparse_mm.search.cost import TABLE_FORMAT, CostModel, LatencyTable
from sparse_mm.search.space import RatioSpace
from sparse_mm.search.stopwatch import Stopwatch
from sparse_mm.search.timing import measure_table, measure_whole, rounds_in_turns

SMALL = dict(embed_dims=16, depths=(2, 3), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1))


@pytest.fixture(scope='module')
def small():
    backbone = SparseViT(**SMALL)
    space = RatioSpace.build(backbone.depths, choices=(0, 0.3, 0.6))
    return backbone, backbone_shape(backbone, (60, 90), 2), space


@pytest.fixture(scope='module')
def table(small):
    return measure_table(*small, marked_pass, seconds=0.1, repeats=(2, 3))


@pytest.mark.parametrize(
    ('options', 'size', 'batch'),
    [
        ({}, (96, 130), 2),
        (dict(depths=(2, 2, 18, 2)), (64, 64), 1),
        (dict(window_size=4, mlp_ratio=2, embed_dims=48, num_heads=(2, 2, 2, 2)), (70, 50), 3),
        (SMALL, (33, 47), 1),
        (dict(depths=(1, 2), num_heads=(3, 6), strides=(2, 3), patch_size=2), (40, 40), 1),
    ],
)
def test_macs_are_what_runs(options, size, batch):
    options = {'out_indices': (0,), **options}
    backbone = SparseViT(**options).eval()
    space = RatioSpace.build(backbone.depths)
    costs = CostModel(backbone_shape(backbone, size, batch), space)
    rng = Random(0)
    images = torch.zeros(batch, 3, *size, device='meta')
    for candidate in (space.least, space.draw(rng), space.draw(rng)):
        backbone.set_pruning_ratios([list(stage) for stage in candidate])
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            backbone.to('meta')(images)
        assert costs.macs(candidate) == counter.get_total_flops() // 2


def test_the_papers_middle_setting():
    backbone = SparseViT()
    space = RatioSpace.build(backbone.depths)
    costs = CostModel(backbone_shape(backbone, (672, 672), 4), space)
    middle = ((0.6,), (0.0,), (0.2, 0.4, 0.5), (0.0,))
    assert costs.cost(middle, 'gmacs') == pytest.approx(116.31, abs=0.01)
    assert costs.cost(middle, 'macs') == pytest.approx(116.31 / 161.63, abs=1e-4)


def test_a_table_sums_its_parts(small, table):
    _, shape, space = small
    costs = CostModel(shape, space, table)
    sparse = ((0.0,), (0.3, 0.6))
    stages = table.stages
    by_hand = (
        table.stem_ms
        + stages[0]['dense_ms']
        + stages[1]['sparse_ms']
        + stages[0]['pairs'][0][shape.stages[0].num_windows]
        + stages[1]['pairs'][0][shape.stages[1].kept(0.3)]
        + stages[1]['pairs'][1][shape.stages[1].kept(0.6)]
    )
    assert costs.ms(sparse) == pytest.approx(by_hand)
    assert costs.cost(((0.0,), (0.0, 0.0)), 'latency') == 1
    assert costs.cost(sparse, 'ms') == costs.ms(sparse)


def test_a_table_survives_its_file(small, table, tmp_path):
    _, shape, space = small
    path = tmp_path / 'table.json'
    path.write_text(table.to_json())
    again = LatencyTable.read(path)
    for candidate in space:
        assert CostModel(shape, space, again).ms(candidate) == CostModel(shape, space, table).ms(
            candidate
        )
    assert again.conditions['dtype'] == 'float32'


def test_checks_are_whole_passes_without_marks(small):
    backbone, shape, space = small
    marked = []

    def run(backbone, images, mark):
        marked.append(backbone.pruning_ratios)
        marked_pass(backbone, images, mark)

    options = dict(seconds=0.01, repeats=(2, 2), checks=[space.most])
    found = measure_table(backbone, shape, space, run, **options)
    assert len(marked) == marked.count([[0.6] * 2, [0.6] * 3]) * 3  # of three ratios, each once
    ((setting, whole),) = found.checks
    assert setting == space.most
    assert whole > 0


def test_every_pass_begins_on_an_idle_device(small, monkeypatch):
    """Queued work on the device would hide the time that the host takes."""
    backbone, shape, space = small
    events = []
    wait = Stopwatch.wait
    monkeypatch.setattr(Stopwatch, 'wait', lambda watch: (events.append('wait'), wait(watch)))

    def run(backbone, images, mark):
        events.append('run')
        marked_pass(backbone, images, mark)

    measure_table(backbone, shape, space, run, seconds=0.01, repeats=(2, 2))
    rounds_in_turns([lambda: events.append('run')] * 2, torch.device('cpu'), 0.01, (2, 2))
    before = [events[i - 1] for i, event in enumerate(events) if event == 'run']
    assert len(before) > 10
    assert set(before) == {'wait'}


def test_cpu_time_is_that_of_one_thread_shared_out(small):
    backbone, shape, space = small
    threads, seen = torch.get_num_threads(), set()

    def run(backbone, images, mark):
        seen.add(torch.get_num_threads())
        time.sleep(0.02)  # as if another program used the core
        marked_pass(backbone, images, mark)

    torch.set_num_threads(2)
    try:
        found = measure_table(
            backbone, shape, space, run, seconds=0.01, repeats=(4, 4), clock='cpu'
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert seen == {1}
    assert found.conditions['threads'] == 2  # for which it stands
    assert found.conditions['clock'] == 'cpu'
    assert set(found.conditions['dense_ms']) == {'cpu'}
    assert found.stem_ms < 10  # the sleep's half would be that much


def test_measuring_leaves_the_backbone_as_it_was(small):
    backbone, shape, space = small
    backbone.train()
    backbone.set_pruning_ratios(0.3)
    state = torch.get_rng_state()
    options = dict(seconds=0.01, repeats=(1, 1), checks=[space.most])
    measure_table(backbone, shape, space, marked_pass, **options)
    times = measure_whole(backbone, shape, [0, 0.6], seconds=0.01, repeats=(2, 2))
    assert len(times) == 2
    assert min(times) > 0
    assert all(module.training for module in backbone.modules())
    assert backbone.pruning_ratios == [[0.3] * 2, [0.3] * 3]
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in backbone.modules())
    backbone(torch.randn(1, 3, 32, 32))[0].sum().backward()  # no inference tensor was left


class TestRefusals:
    def test_foreign_tables(self, small, table):
        _, shape, space = small
        for other, name in (
            (replace(table, batch=4), 'batch 4'),
            (replace(table, image_size=(64, 64)), r'image_size \(64, 64\)'),
            (replace(table, channels=[96, 192]), 'channels'),
            (replace(table, windows=[1, 1]), 'windows'),
        ):
            with pytest.raises(BadInputError, match=f'measured for {name}'):
                CostModel(shape, space, other)
        finer = RatioSpace.build((2, 3), choices=(0, 0.3, 0.5))
        with pytest.raises(BadInputError, match=r'lacks .* kept windows in stage 0'):
            CostModel(shape, finer, table)

    def test_files(self, tmp_path):
        with pytest.raises(BadInputError, match='cannot be read'):
            LatencyTable.read(tmp_path / 'none.json')
        other = tmp_path / 'other.json'
        other.write_text(json.dumps([0.5, 0.5]))
        with pytest.raises(BadInputError, match='not a latency table; make one with'):
            LatencyTable.read(other)
        other.write_text(json.dumps({'format': TABLE_FORMAT, 'stages': 3}))
        with pytest.raises(BadInputError, match='not a latency table; make one with'):
            LatencyTable.read(other)

    def test_budgets_out_of_reach_name_the_range(self, small):
        _, shape, space = small
        costs = CostModel(shape, space)
        low = costs.cost(space.most, 'macs')
        reachable = f'reaches {low:.4g} to 1 of the dense MACs'
        for budget in (Budget('macs', 0.1), Budget('macs', 3.0, 2.0)):
            with pytest.raises(BadInputError, match=reachable):
                costs.check_reachable(budget, space)
        costs.check_reachable(Budget('macs', low), space)
        with pytest.raises(BadInputError, match='GMACs'):
            costs.check_reachable(Budget('gmacs', 1e-6), space)
