"""A run's own latency table: measured once, and never where it belongs to something else."""

import json
from types import SimpleNamespace

import pytest

from sparse_mm.engine.inspection import backbone_shape
from sparse_mm.engine.search import tables
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.models import SparseViT
from sparse_mm.search.space import RatioSpace
from tests.faults.moments import measure_macs


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Asks for the table of a small backbone; gives what was said, and whether it was measured."""
    measured = []
    counter = SimpleNamespace(pass_by=measured.append)
    monkeypatch.setattr(tables, 'measure_table', measure_macs(counter))

    def ask(batch=1, **settings):
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
            SearchSettings.build(budget='latency=0.7', metric='toy', **settings),
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
