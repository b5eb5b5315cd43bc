"""tools/analysis_tools/benchmark.py: what it prints and writes; never how fast anything is."""

import json

from tests.conftest import ROOT

TOOL = 'analysis_tools/benchmark.py'
SHAPES = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py'
SMALL = 'model.backbone.embed_dims=16'


def test_a_table_and_a_file(call_tool, tmp_path):
    printed = call_tool(
        *(TOOL, '--run', 'dense', SHAPES, SMALL),
        *('--run', 'sparse', SHAPES, SMALL, 'model.backbone.pruning_ratios=0.5'),
        *('--shape', 56, 112, '--batch', 2, '--seconds', 0.1, '--json', 'found.json'),
    )
    rows = [line for line in printed.splitlines() if line.startswith('| ')]
    assert rows[0] == '| backbone | size | GMACs | of dense: MACs | latency |'
    assert rows[2].startswith('| dense | 56×112 | ')
    assert rows[2].endswith('| 1.000 | 1.000 |')
    assert 'device: CPU, threads: 2' in printed
    found = json.loads((tmp_path / 'found.json').read_text())
    dense, sparse = found['runs']
    assert sparse['gmacs'] < dense['gmacs']
    assert found['conditions']['batch'] == 2
    low, high = sparse['quartiles_ms']
    assert 0 < low <= sparse['median_ms'] <= high


def test_refusals(refusal):
    assert 'must be a name, a config and overrides' in refusal(TOOL, '--run', 'dense')
    assert 'no config file' in refusal(TOOL, '--run', 'dense', 'none.py')
    assert 'key=value' in refusal(TOOL, '--run', 'dense', SHAPES, 'fast')
    assert '--batch' in refusal(TOOL, '--run', 'dense', SHAPES, '--batch', 0)
