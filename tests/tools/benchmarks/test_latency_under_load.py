"""Quiet and busy latency tables: the comparison, and the busy processes."""

import importlib
import json
import sys

import pytest

from sparse_mm.search.cost import BackboneShape, LatencyTable, StageShape
from sparse_mm.search.space import RatioSpace
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / 'tools'))
tool = importlib.import_module('benchmarks.latency_under_load')


def table(factor=1.0, slower_pairs=1.0):
    """Two stages of 64 and 16 windows; ``factor`` slows all, ``slower_pairs`` the blocks."""
    stages = [
        dict(
            dense_ms=factor,
            sparse_ms=1.1 * factor,
            pairs=[{kept: factor * slower_pairs * kept / 8 for kept in range(windows + 1)}],
        )
        for windows in (64, 16)
    ]
    return LatencyTable((224, 224), 2, 2.0 * factor, stages, [64, 16], [32, 64])


SHAPE = BackboneShape(
    (224, 224), 2, 1000, (StageShape(2, 64, 49, 32, 128, 10), StageShape(2, 16, 49, 64, 256, 10))
)
SPACE = RatioSpace.build((2, 2))


def ratios(**changes):
    return tool.ratios_to_dense(table(**changes), SHAPE, SPACE)


def test_a_machine_that_slows_everything_alike_changes_no_ratio():
    assert tool.deviation(ratios(factor=2.5), ratios()) == pytest.approx(0, abs=1e-9)


def test_what_bends_the_ratios_is_found():
    quiet, bent = ratios(), ratios(slower_pairs=1.5)
    found = tool.deviation(bent, quiet)
    worst = max(quiet, key=lambda candidate: abs(bent[candidate] / quiet[candidate] - 1))
    assert found == pytest.approx(abs(bent[worst] / quiet[worst] - 1))
    assert found > 0.05
    # One outlier among the quiet tables does not change the median.
    by_kind = tool.compare([quiet, quiet, bent], [bent, quiet])
    assert by_kind == ([0, 0, found], [found, 0])


def test_neighbours_are_there_and_go():
    with tool.busy_neighbours(2) as neighbours:
        assert [neighbour.poll() for neighbour in neighbours] == [None, None]
    assert all(neighbour.poll() is not None for neighbour in neighbours)


def test_the_command_compares_quiet_and_busy_tables(call_tool, monkeypatch, tmp_path):
    """With a fake measurement, 10 % off in every second table, and real busy processes."""
    seconds = []

    def measure(backbone, shape, space, engine, precision, dtype, given, progress):
        seconds.append(given)
        bend = 1.0 + 0.1 * (len(seconds) % 2 == 0)
        stages = [
            dict(
                dense_ms=0.0,
                sparse_ms=0.0,
                pairs=[
                    {stage.kept(r): 1.0 if not r else bend * (1 - r) for r in (0.0, *choices)}
                    for _ in stage.pair_sizes()
                ],
            )
            for stage, choices in zip(shape.stages, space.choices, strict=True)
        ]
        windows = [stage.num_windows for stage in shape.stages]
        channels = [stage.channels for stage in shape.stages]
        said = dict(rounds=9, spread=0.2, clock='cpu', threads=2, dense_ms=dict(cpu=6.0))
        return LatencyTable(shape.image_size, shape.batch, 0.0, stages, windows, channels, said)

    monkeypatch.setattr('sparse_mm.engine.search.tables.measure', measure)
    said = call_tool(
        'benchmarks/latency_under_load.py',
        ROOT / 'configs/sparsevit_maskrcnn_shapes.py',
        *('--seconds', 3, '--turns', 2, '--neighbours', 1, '--json', tmp_path / 'found.json'),
    )
    assert seconds == [3.0] * 4
    assert said.count('cpu clock, threads: 2, spread 20.0% (a search would refuse it)') == 4
    assert 'quiet  0.0%, 0.0%\nbusy   10.0%, 10.0%' in said
    assert json.loads((tmp_path / 'found.json').read_text())['neighbours'] == 1
