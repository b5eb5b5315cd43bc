"""Quiet and busy latency tables, side by side: how they are compared, and the neighbours."""

import importlib
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
    # One odd table among the quiet ones moves the median of none.
    by_kind = tool.compare([quiet, quiet, bent], [bent, quiet])
    assert by_kind == ([0, 0, found], [found, 0])


def test_neighbours_are_there_and_go():
    with tool.busy_neighbours(2) as neighbours:
        assert [neighbour.poll() for neighbour in neighbours] == [None, None]
    assert all(neighbour.poll() is not None for neighbour in neighbours)
