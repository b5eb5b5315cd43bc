"""A run's latency table: measured once, and never reused for another model or device."""

import json
from types import SimpleNamespace

import pytest

from sparse_mm.engine.inspection import backbone_shape
from sparse_mm.engine.search import tables
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT
from sparse_mm.search.space import RatioSpace
from tests.faults.moments import measure_macs


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Gets the table of a small backbone; returns the log, and whether it was measured."""
    measured = []
    counter = SimpleNamespace(pass_by=measured.append)
    count_windows = measure_macs(counter)

    def ask(batch=1, spreads=None, budget='latency=0.7', **settings):
        def measure(*args, clock='wall', **kwargs):
            found = count_windows(*args, **kwargs)
            found.conditions['clock'] = clock
            if spreads:
                found.conditions['spread'] = spreads[clock]
            return found

        monkeypatch.setattr(tables, 'measure_table', measure)
        backbone = SparseViT(
            embed_dims=8,
            depths=(2, 2),
            num_heads=(1, 2),
            strides=(4, 2),
            window_size=4,
            out_indices=(1,),
        )
        space = RatioSpace.build(backbone.depths)
        said = []
        tables.table_for(
            tmp_path / 'latency_table.json',
            backbone.eval(),
            backbone_shape(backbone, (48, 48), batch),
            space,
            SearchSettings.build(budget=budget, metric='toy', **settings),
            said.append,
        )
        found = len(measured)
        measured.clear()
        return ' '.join(said), found

    return ask


def test_what_was_measured_is_taken(table):
    assert table() == ('', 1)
    said, measured = table(latency_seconds=3)
    assert 'Latencies are taken from' in said
    assert measured == 0


@pytest.mark.parametrize(
    ('changes', 'part'), [(dict(batch=2), 'shape'), (dict(dtype='bfloat16'), 'dtype')]
)
def test_what_was_measured_with_another_setting_is_kept_aside(table, tmp_path, changes, part):
    table()
    before = (tmp_path / 'latency_table.json').read_bytes()
    said, measured = table(**changes)
    assert f'was measured with another {part}' in said
    assert measured == 1
    assert (tmp_path / 'latency_table.json.earlier').read_bytes() == before


def test_what_is_no_table_is_kept_aside(table, tmp_path):
    path = tmp_path / 'latency_table.json'
    path.write_text(json.dumps(dict(format='other')))
    said, measured = table()
    assert 'is no latency table' in said
    assert measured == 1
    assert 'latency_table.json.unreadable' in said
    assert json.loads((tmp_path / 'latency_table.json.unreadable').read_text())
    assert table() == (f'Latencies are taken from {path}: they were measured so.', 0)


BUSY = dict(wall=0.4, cpu=0.02)


def test_a_busy_machine_is_measured_by_cpu_time(table, tmp_path):
    said, measured = table(spreads=BUSY)
    assert 'Other programs keep this machine busy' in said
    assert measured == 2
    written = json.loads((tmp_path / 'latency_table.json').read_text())
    assert written['conditions']['clock'] == 'cpu'
    assert table()[1] == 0


def test_cpu_time_of_one_thread_does_not_stand_for_milliseconds(table):
    with pytest.raises(BadInputError, match='repeated, they differ by 40%'):
        table(spreads=BUSY, budget='ms=100')
    table(spreads=BUSY)
    said, measured = table(budget='ms=100')
    assert 'was measured with another clock' in said
    assert measured == 1


@pytest.mark.parametrize(('relative', 'clocks'), [(True, ['wall', 'cpu']), (False, ['wall'] * 2)])
def test_an_engine_on_a_busy_machine_is_measured_by_cpu_time_too(monkeypatch, relative, clocks):
    seen = []

    def measure(*args, clock, **kwargs):
        seen.append(clock)
        return SimpleNamespace(conditions=dict(clock=clock, spread=BUSY[clock]))

    monkeypatch.setattr(tables, 'measure_whole_table', measure)
    backbone = SparseViT(embed_dims=8, depths=(2,), num_heads=(1,), strides=(4,), out_indices=(0,))
    space = RatioSpace.build(backbone.depths)
    settings = backbone, None, space, 'torch', 'bfloat16', 'float32', 1, None
    found = tables.measure(*settings, relative=relative)
    assert seen == clocks
    assert found.conditions['clock'] == clocks[-1]
    assert tables.is_steady(found) == relative


def test_what_disagrees_in_cpu_time_too_is_refused(table, tmp_path):
    with pytest.raises(BadInputError, match='repeated, they differ by 30%'):
        table(spreads=dict(wall=0.4, cpu=0.3))
    assert not (tmp_path / 'latency_table.json').exists()
