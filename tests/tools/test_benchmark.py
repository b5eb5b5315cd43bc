"""tools/analysis_tools/benchmark.py: what it prints, writes and draws; never how fast anything
is."""

import json
import shutil
from dataclasses import replace
from random import Random

import pytest
import torch
from PIL import Image

from sparse_mm.search.space import RatioSpace
from tests.conftest import ROOT
from tools.benchmarks.passes import Pass, Setup, build_all, count_gmacs
from tools.benchmarks.runs import PRESETS, read_run

TOOL = 'analysis_tools/benchmark.py'
SHAPES = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py'
SMALL = 'model.backbone.embed_dims=16'
QUICK = ('--shape', 64, 64, '--seconds', 0.1, '--matrix', 64, '--threads', 1)
TINY_SWIN = ('embed_dims=8', 'depths=[1,1]', 'num_heads=[1,2]', 'strides=[4,2]', 'out_indices=[1]')
ONE_BLOCK = ('embed_dims=8', 'depths=[1]', 'num_heads=[1]', 'strides=[4]', 'out_indices=[0]')


@pytest.fixture(autouse=True)
def threads():
    """The tool's --threads holds for the process, which here has other tests to run."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def table(printed):
    """The cells of the Markdown table, without its head and line."""
    lines = [line for line in printed.splitlines() if line.startswith('| ')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2:]]


def test_a_table_a_file_and_a_picture(call_tool, tmp_path):
    printed = call_tool(
        *(TOOL, '--run', 'dense', SHAPES, SMALL),
        *('--run', 'sparse', SHAPES, SMALL, 'model.backbone.pruning_ratios=0.5'),
        *('--shape', 280, 336, '--batch', 2, '--seconds', 0.1, '--matrix', 64),
        *('--threads', 1, '--json', 'found.json', '--plot', 'found.png'),
    )
    assert '| backbone | size | GMACs | of baseline | faster by | peak memory | of base' in printed
    first = table(printed)[0]
    assert first[:2] == ['dense', '280×336']
    assert first[3:5] == ['1.000', '1.00× (1.00–1.00)']
    assert first[6] == '1.00'
    assert 'device: CPU, threads: 1' in printed
    assert 'product of two 64×64 matrices' in printed
    assert 'peak memory: the most that one pass adds' in printed
    found = json.loads((tmp_path / 'found.json').read_text())
    dense, sparse = found['runs']
    assert sparse['gmacs'] < dense['gmacs']
    conditions = found['conditions']
    assert conditions['batch'] == 2
    assert conditions['torch'] == torch.__version__
    assert {'processor', 'mmdet', 'dtype', 'mode', 'compile', 'rounds'} <= set(conditions)
    assert {'mmcv', 'mmcv-lite'} & set(conditions)
    low, high = sparse['quartiles_ms']
    assert 0 < low <= sparse['median_ms'] <= high
    assert len(sparse['seconds']) == conditions['rounds']
    # The maps alone are 2 x 5 880 tokens of 16 channels, the hidden ones of an FFN four times that.
    assert dense['peak_memory'] > 2 * 5880 * 64 * 4
    assert {item['name'] for item in found['matrix_products']} == {'torch.mm', 'oneDNN'}
    assert sparse['share_of_products'].keys() == {'torch.mm', 'oneDNN'}
    assert Image.open(tmp_path / 'found.png').size == (900, 750)


def test_registered_backbones_a_named_baseline_and_random_ratios_in_training(call_tool, tmp_path):
    printed = call_tool(
        *(TOOL, '--run', 'random', 'SparseViT', *TINY_SWIN, 'pruning_ratios=random'),
        *('--run', 'swin', 'mmdet.SwinTransformer', *TINY_SWIN, '--baseline', 'swin'),
        *(*QUICK, '--train', '--no-memory', '--dtype', 'bfloat16', '--json', 'found.json'),
    )
    assert [row[0] for row in table(printed)] == ['random', 'swin']
    assert table(printed)[1][4] == '1.00× (1.00–1.00)'
    assert 'mode: training step, dtype: bfloat16' in printed
    assert 'peak memory:' not in printed
    assert 'GMACs are the mean' in printed
    found = json.loads((tmp_path / 'found.json').read_text())
    assert found['conditions']['baseline'] == 'swin'
    assert found['runs'][1]['of_baseline'] == 1
    # Only in fp32 the CPU has two libraries for products.
    assert [item['name'] for item in found['matrix_products']] == ['torch.mm']


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='torch.compile needs a C++ compiler')
def test_compiled(call_tool):
    printed = call_tool(
        *(TOOL, '--run', 'ours', 'SparseViT', *ONE_BLOCK, *QUICK, '--no-memory'),
        *('--compile', 'default'),
    )
    assert 'compile: default' in printed
    assert len(table(printed)) == 1


@pytest.mark.parametrize(
    ('preset', 'batch', 'rows', 'size'),
    [
        ('sparsevit', 1, 4, (672, 672)),
        ('sparseformer', 16, 2, (224, 224)),
        ('cameras', 6, 4, (256, 704)),
    ],
)
def test_presets(call_tool, preset, batch, rows, size):
    assert {run.image_size for run in PRESETS[preset].rows(train=False, image_size=None)} == {size}
    assert PRESETS[preset].batch == batch
    printed = call_tool(TOOL, '--preset', preset, *QUICK, '--batch', 1, '--no-memory')
    assert len(table(printed)) == rows
    assert {row[1] for row in table(printed)} == {'64×64'}


def test_the_wide_preset_is_the_backbone_of_its_config():
    rows = PRESETS['swin-l'].rows(train=False, image_size=None)
    assert [run.settings['type'] for run in rows] == ['mmdet.SwinTransformer'] + ['SparseViT'] * 3
    config = ROOT / 'configs' / 'sparsevit_mask2former_cityscapes_dense.py'
    written = read_run(['ours', str(config)], None)
    assert written.image_size == rows[0].image_size
    settings = rows[1].settings
    assert {key: written.settings[key] for key in settings if key != 'pruning_ratios'} == {
        key: value for key, value in settings.items() if key != 'pruning_ratios'
    }


def test_presets_share_their_weights_and_draw_ratios_in_training():
    rows = PRESETS['sparsevit'].rows(train=True, image_size=(56, 56))
    swin, dense, drawn = build_all(rows)
    assert rows[2].draws_ratios
    for name, weight in swin.state_dict().items():
        assert torch.equal(weight, dense.state_dict()[name])
        assert torch.equal(weight, drawn.state_dict()[name])


def test_random_ratios_are_drawn_as_the_adaptation_draws_them():
    run = read_run(['ours', 'SparseViT', *TINY_SWIN, 'pruning_ratios=random'], (56, 56))
    dense, drawn = build_all([replace(run, name=name) for name in ('dense', 'drawn')])
    setup = Setup('cpu', 1, train=True)
    settings = {**run.settings, 'pruning_ratios': None}
    assert count_gmacs(run, setup, drawn) < count_gmacs(
        replace(run, settings=settings), setup, dense
    )
    assert not any(any(stage) for stage in drawn.pruning_ratios)  # counting does not change it

    step = Pass(run, setup, drawn)
    seen = []
    for iteration in range(3):
        step()
        dense.set_pruning_ratios(
            RatioSpace.build(dense.depths).draw(Random(f'0 adaptation {iteration}'))
        )
        assert drawn.pruning_ratios == dense.pruning_ratios
        seen.append(str(drawn.pruning_ratios))
    assert len(set(seen)) == 3
    assert drawn.patch_embed.projection.weight.grad.any()


def test_a_pass_counts_the_macs_of_the_paper():
    # 4.5 G at 224x224, which is for one image of ImageNet; the backward pass is twice the forward.
    run = read_run(['swin', 'mmdet.SwinTransformer'], (224, 224))
    (backbone,) = build_all([run])
    forward = count_gmacs(run, Setup('cpu', 1), backbone)
    step = count_gmacs(run, Setup('cpu', 1, train=True), backbone)
    assert forward == pytest.approx(4.49, abs=0.01)
    assert step == pytest.approx(3 * forward, rel=0.01)


def test_refusals(refusal):
    dense = ('--run', 'dense', SHAPES)
    assert 'must be a name, a config and overrides' in refusal(TOOL, '--run', 'dense')
    assert 'no config file' in refusal(TOOL, '--run', 'dense', 'none.py')
    assert 'key=value' in refusal(TOOL, *dense, 'fast')
    assert '--batch' in refusal(TOOL, *dense, '--batch', 0)
    assert 'either by --run or by --preset' in refusal(TOOL)
    assert 'either by --run or by --preset' in refusal(TOOL, *dense, '--preset', 'cameras')
    assert "called 'dense'" in refusal(TOOL, *dense, *dense)
    assert "none of the runs: 'dense'" in refusal(TOOL, *dense, '--baseline', 'sparse')
    assert '--shape H W' in refusal(TOOL, '--run', 'swin', 'mmdet.SwinTransformer')
    assert 'multiple of 16' in refusal(TOOL, *dense, '--matrix', 100)
    assert '--plot must end in' in refusal(TOOL, *dense, '--plot', 'found.gif')
    assert 'cpu or cuda' in refusal(TOOL, *dense, '--device', 'tpu')
    assert 'leave one of the two out' in refusal(
        TOOL, '--preset', 'sparsevit', '--train', '--compile', 'default'
    )
    registered = (TOOL, *QUICK, '--run', 'x')
    assert "'x' cannot be built" in refusal(*registered, 'mmdet.NoSuchBackbone')
    assert "no argument 'sparse'" in refusal(*registered, 'SparseViT', 'sparse=True')
    assert 'ResNet has none' in refusal(
        *registered, 'mmdet.ResNet', 'depth=18', 'pruning_ratios=random'
    )
