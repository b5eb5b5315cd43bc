"""tools/analysis_tools/compare_models.py: what it prints, writes and draws; never how fast anything
is."""

import json

import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image
from torch import nn

from tools.benchmarks.comparison import Measurement, compare, select
from tools.benchmarks.comparison_pictures import draw, draw_figure_3, pareto_front
from tools.benchmarks.comparison_report import FIGURE_3, markdown, page, unexplained
from tools.benchmarks.counting import WithoutRandomNumbers, count, count_macs
from tools.benchmarks.runs import build
from tools.benchmarks.tables import TABLES
from tools.benchmarks.tables.rows import OPERATIONS, WITHOUT_MIXING, Row, Table, model

TOOL = 'analysis_tools/compare_models.py'


@pytest.fixture(autouse=True)
def threads():
    """The tool's --threads holds for the process, which here has other tests to run."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SMALL = dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2], strides=[4, 2], out_indices=[1])


def small_table(**settings):
    """Two Swins and a SparseFormer, small; the first is the baseline."""
    latent = dict(
        arch=dict(num_tokens=4, dims=(8, 16), depth=1, drop_path_rate=0.0),
        num_heads=2,
        num_points=4,
        feature_channels=8,
    )
    size = (56, 56)
    rows = (
        Row('dense', model('SparseViT', size, **SMALL), dict(score=40.0, ms=10.0, gmacs=0.004)),
        Row(
            'Sparse',
            model('SparseViT', size, **SMALL, pruning_ratios=0.5),
            dict(score=39.0, ms=5.0, gmacs=0.004),
            OPERATIONS,
        ),
        Row('latent', model('SparseFormer', size, **latent), dict(score=41.0), WITHOUT_MIXING),
    )
    return Table(
        'Small',
        'A paper, table 1',
        rows,
        dict(score='score', ms='ms', gmacs='GFLOPs'),
        accuracy='score',
        baseline='dense',
        **settings,
    )


@pytest.fixture(scope='module')
def timed():
    table = small_table(with_memory=True)
    return compare('small', table, table.rows, Measurement(seconds=0.1))


def cells(text):
    lines = [line for line in text.splitlines() if line.startswith('| ')]
    head, _, *rows = ([cell.strip() for cell in line.strip('|').split('|')] for line in lines)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_ours_stand_beside_the_papers(timed):
    dense, sparse, latent = cells(markdown(timed))
    assert dense['row'] == 'dense'
    assert dense['faster than dense by'] == '1.00× (1.00–1.00)'
    assert (dense['faster by, paper'], sparse['faster by, paper']) == ('1.00×', '2.00×')
    assert latent['faster by, paper'] == latent['GFLOPs, paper'] == '–'
    assert latent['score, paper'] == '41.0'
    assert sparse['peak memory'].endswith('MiB')
    found = {row['name']: row for row in timed['rows']}
    assert found['Sparse']['in_the_papers_way'] == 2 * found['Sparse']['gmacs']
    assert found['latent']['in_the_papers_way'] < found['latent']['gmacs']
    assert 'two operations for each MAC: Sparse' in markdown(timed)
    assert timed['conditions']['batch'] == 1
    assert len(found['dense']['seconds']) == timed['conditions']['rounds'] >= 3


def test_differences_need_an_explanation(timed):
    change = timed['rows'][0]['in_the_papers_way'] / 0.004 - 1
    assert abs(change) > 0.05
    assert 'dense' in unexplained(timed)
    explained = {**timed, 'rows': [{**row, 'note': 'because'} for row in timed['rows']]}
    assert unexplained(explained) == []
    assert cells(markdown(explained))[0]['row'] == 'dense [1]'
    assert '1. because' in markdown(explained)
    # Differences within rounding do not count: 0.5 means 0.45 to 0.55.
    row = dict(timed['rows'][0], in_the_papers_way=0.55, paper=dict(gmacs=0.5), note='')
    assert unexplained({**timed, 'rows': [row]}) == []
    assert unexplained({**timed, 'rows': [{**row, 'in_the_papers_way': 0.58}]}) == ['dense']


def test_the_baseline_comes_with_what_is_timed():
    table = small_table()
    (chosen,) = select({'small': table}, ['sparse']).values()
    assert [row.name for row in chosen] == ['Sparse']
    how = Measurement(count_only=True)
    assert [row['name'] for row in compare('small', table, chosen, how)['rows']] == ['Sparse']
    timed = compare('small', table, chosen, Measurement(seconds=0.05, batch=2))
    assert [row['name'] for row in timed['rows']] == ['dense', 'Sparse']
    assert timed['conditions']['batch'] == 2


def test_pareto_front():
    points = [(1, 5.0), (2, 4.0), (2, 7.0), (3, 7.0), (4, 8.0)]
    assert pareto_front(points, smaller_is_better=True) == [(1, 5.0), (2, 7.0), (4, 8.0)]
    assert pareto_front(points, smaller_is_better=False) == [(4, 8.0)]


def test_pictures(timed):
    assert draw(timed)[:4] == b'\x89PNG'
    sizes = {**timed, 'accuracy': None}
    rows = [dict(row, name=f'{row["name"]}, 56²') for row in timed['rows']]
    assert draw({**sizes, 'rows': rows})[:4] == b'\x89PNG'
    assert draw_figure_3([timed]) is None
    names = 'Swin-T', 'Swin-T (R5)', 'Swin-T (W0.5×)', 'SparseViT'
    rows = [dict(timed['rows'][0], name=name) for name in names]
    both = [{**timed, 'table': table, 'rows': rows} for table in ('coco', 'nuscenes')]
    assert draw_figure_3(both)[:4] == b'\x89PNG'
    shown = page([timed], 'python compare_models.py', {FIGURE_3: 'pictures/figure.png'})
    assert '(pictures/figure.png)' in shown


def test_what_hides_products_is_switched_off():
    images = torch.randn(2, 5, 32)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    # Four projections, two products of attention, the FFN; bias and norms are no products.
    expected = 2 * 5 * (4 * 32**2 + 2 * 5 * 32 + 2 * 32 * 64)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    assert count_macs(layer, images) == expected
    assert torch.backends.mha.get_fastpath_enabled() == fast_path
    assert count(layer, (2, 5, 32)).macs == expected


def test_counting_draws_no_random_numbers():
    state = torch.get_rng_state()
    with WithoutRandomNumbers():
        nn.Linear(8, 8), nn.Conv2d(3, 4, 3), nn.LayerNorm(4)
    assert torch.equal(torch.get_rng_state(), state)
    nn.Linear(8, 8)
    assert not torch.equal(torch.get_rng_state(), state)


# Ours and theirs, by a row of each kind: of a host's config, of ours, of the peers, of torchvision.
COUNTS = {
    'imagenet': {
        'ResNet-50': (4.089, 25.56),
        'ResNet-101': (7.801, 44.55),
        'DeiT-S': (4.599, 22.05),
        'DeiT-B': (17.564, 86.57),
        'Swin-T': (4.491, 28.29),
        'Swin-S': (8.741, 49.61),
        'Perceiver': (353.14, 44.91),
        'SparseFormer-T': (2.18, 31.52),
        'SparseFormer-S': (3.99, 47.58),
        'SparseFormer-B': (7.99, 81.08),
    },
    'kinetics': {'SlowFast': (106.51, 53.77), 'Video Swin-T': (87.76, 28.16)},
    'coco': {'SparseViT, 34 ms': (116.31, None)},
    'nuscenes': {'Swin-T (W0.4×)': (20.76, None)},
}


@pytest.mark.parametrize('name', COUNTS)
def test_counts(name):
    table = TABLES[name]
    chosen = select({name: table}, list(COUNTS[name]))[name]
    result = compare(name, table, chosen, Measurement(count_only=True))
    assert [row['name'] for row in result['rows']] == list(COUNTS[name])
    for row in result['rows']:
        gmacs, millions = COUNTS[name][row['name']]
        assert row['gmacs'] == pytest.approx(gmacs, abs=0.0051)
        assert millions is None or row['params'] / 1e6 == pytest.approx(millions, abs=0.0051)
    assert unexplained(result) == []


def test_video_sparse_formers_count_as_in_the_paper():
    table = TABLES['kinetics']
    chosen = [row for row in table.rows if row.name.startswith('VideoSparseFormer')]
    result = compare('kinetics', table, chosen, Measurement(count_only=True))
    found = [round(row['in_the_papers_way'], 1) for row in result['rows']]
    assert found == [22.2, 38.0, 73.5]
    assert unexplained(result) == []


def test_every_row_can_be_read():
    for name, table in TABLES.items():
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names)
        assert table.baseline in names
        assert table.accuracy is None or table.accuracy in table.columns
        for row in table.rows:
            assert set(row.paper) <= set(table.columns), name
            run = row.make()
            assert run.input_shape(1)[-2:] == run.image_size
    rows = {row.name: row for row in TABLES['cityscapes'].rows}
    assert rows['SparseViT'].make().settings['pruning_ratios'][0] == [0.6]


def test_a_run_and_its_report(call_tool, tmp_path):
    printed = call_tool(
        *(TOOL, '--table', 'scaling', 'ablations', '--only', 'B, 224²', 'SparseFormer-T'),
        *('--count-only', '--json', 'found.json', '--markdown', 'page.md', '--pictures', '.'),
    )
    one, other = printed.split('piece by piece')
    first, second = cells(one)[0], cells(other)[0]
    assert first['top-1, paper'] == '82.6'
    assert second['as the paper counts'] == '2.07'
    assert 'faster than' not in printed
    page = (tmp_path / 'page.md').read_text()
    assert 'compare_models.py --table scaling ablations' in page
    assert '![SparseFormer-T, piece by piece](comparison_ablations.png)' in page
    assert Image.open(tmp_path / 'comparison_ablations.png').size == (660, 550)
    again = call_tool(TOOL, '--read', 'found.json', '--markdown', 'again.md', '--pictures', '.')
    assert again == printed
    assert (tmp_path / 'again.md').read_text() == page
    assert json.loads((tmp_path / 'found.json').read_text())['tables'][0]['table'] == 'scaling'


def test_refusals(refusal, tmp_path):
    assert 'no row of imagenet has that name' in refusal(
        TOOL, '--table', 'imagenet', '--only', 'Swin-X'
    )
    assert "did you mean 'Swin-T'" in refusal(TOOL, '--table', 'imagenet', '--only', 'swint')
    assert '--batch and --threads' in refusal(TOOL, '--batch', 0)
    assert '--seconds above 0' in refusal(TOOL, '--seconds', 0)
    assert 'cpu or cuda' in refusal(TOOL, '--device', 'tpu')
    (tmp_path / 'other.json').write_text('[]')
    assert 'no comparison can be read' in refusal(TOOL, '--read', 'other.json')
    assert 'leave out --table' in refusal(TOOL, '--read', 'other.json', '--count-only')


def test_peers_are_registered_only_by_the_rows():
    build(model('PerceiverIO', (16, 16), image_size=16, num_latents=2, dim=8)(), initialise=False)
    assert 'PerceiverIO' in MODELS.module_dict
