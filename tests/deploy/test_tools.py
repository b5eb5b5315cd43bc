"""--engine and --precision of the tools give the same results on another engine."""

import json
import pickle
import runpy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from sparse_mm.deploy import DeployedBackbone
from sparse_mm.engine.checks import check_checkpoint
from sparse_mm.engine.deployment import deploy, undeploy
from sparse_mm.engine.inspection import build_model, find_backbone
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT
from sparse_mm.search.cost import LatencyTable
from tests.conftest import ROOT, require_engine
from tests.engine.search.toy import ToyClassifier, toy_config

ONE_BLOCK = ('embed_dims=8', 'depths=[1]', 'num_heads=[1]', 'strides=[4]', 'out_indices=[0]')
CLASSIFIER = """
custom_imports = dict(imports=['sparse_mm'])
default_scope = 'mmpretrain'
backbone = dict(
    type='SparseViT', embed_dims=8, depths=(2,), num_heads=(1,), strides=(4,), out_indices=(0,),
    pruning_ratios=0.5)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', num_classes=2, mean=[127.0] * 3, std=[50.0] * 3),
    backbone=backbone,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=8))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=56), dict(type='PackInputs')]
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='classes', pipeline=pipeline))
test_evaluator = dict(type='Accuracy', topk=1)
test_cfg = dict()
"""


@pytest.fixture
def classifier(tmp_path):
    """A config with four pictures, and a checkpoint of it."""
    cv2 = pytest.importorskip('cv2')
    for name in ('cat', 'dog'):
        (tmp_path / 'classes' / name).mkdir(parents=True)
        for number in range(2):
            picture = np.random.default_rng(number).integers(0, 255, (70, 60, 3), np.uint8)
            cv2.imwrite(str(tmp_path / 'classes' / name / f'{number}.png'), picture)
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'weights.pth'
    config.write_text(CLASSIFIER)
    model = build_model(Config.fromfile(config))
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return config, checkpoint


@pytest.mark.parametrize(
    ('options', 'tolerance'),
    [
        (('--engine', 'onnxruntime'), 1e-5),
        (('--engine', 'openvino'), 1e-5),
        (('--precision', 'bfloat16'), 0.02),
    ],
)
def test_testing(classifier, call_tool, tmp_path, options, tolerance):
    if 'openvino' in options:
        require_engine('openvino')

    def scores(*more):
        call_tool('test.py', *classifier, '--work-dir', 'run', '--out', 'found.pkl', *more)
        found = pickle.loads((tmp_path / 'found.pkl').read_bytes())
        return torch.stack([sample['pred_score'] for sample in found])

    plain = scores()
    torch.testing.assert_close(scores(*options), plain, rtol=0, atol=tolerance)
    (dumped,) = (tmp_path / 'run').glob('config.py')
    assert "type='DeployedBackbone'" in dumped.read_text()


def test_images_of_many_sizes(classifier, call_tool, refusal, tmp_path, cache, monkeypatch):
    """Images of many sizes, as from pipelines that keep the ratio; --sizes limits the graphs."""
    config, checkpoint = classifier
    text = config.read_text().replace('batch_size=2', 'batch_size=1')
    config.write_text(text.replace("dict(type='Resize', scale=56), ", ''))
    cv2 = pytest.importorskip('cv2')
    for number, path in enumerate(sorted((tmp_path / 'classes').glob('*/*.png'))):
        cv2.imwrite(str(path), cv2.imread(str(path))[: 70 - 9 * number, : 60 - 5 * number])
    run = ('test.py', config, checkpoint, '--work-dir', 'run', '--engine', 'onnxruntime')
    # The logger that prints may be one of an earlier run in this process.
    said: list[str] = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text, *_, **__: said.append(text))
    call_tool(*run)
    assert sum('Images come in 4 sizes so far' in text for text in said) == 1
    said.clear()
    assert len(list(cache.glob('*/graph.onnx'))) == 4
    call_tool(*run, '--sizes', 64)
    assert not any('Images come in' in text for text in said)
    assert len(list(cache.glob('*/graph.onnx'))) == 6  # 64 and 128 high, 64 wide
    call_tool(*run, '--sizes', '64x64', '70x64')
    assert len(list(cache.glob('*/graph.onnx'))) == 7
    assert 'give sizes as 800x1344' in refusal(*run, '--sizes', '64', '70x64')
    assert 'larger than every one of the sizes 64x64' in refusal(*run, '--sizes', '64x64')


def test_a_checkpoint_of_another_config_is_refused_before_anything_runs(
    classifier, refusal, tmp_path
):
    config, checkpoint = classifier
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    weights['backbone.stages.0.blocks.1.norm1.weight'] = torch.ones(16)
    torch.save(weights, tmp_path / 'wider.pth')
    assert 'is of another model, its shapes differ: backbone.stages.0.blocks.1.norm1' in refusal(
        'test.py', config, 'wider.pth', '--engine', 'onnxruntime'
    )
    message = refusal(
        *('test.py', config, checkpoint, '--engine', 'onnxruntime', '--precision', 'bfloat16')
    )
    assert 'computes in float32, not in' in message


def test_configs(classifier):
    cfg = Config.fromfile(classifier[0])
    plain = Config.fromfile(classifier[0])
    deploy(cfg, None, None)
    assert cfg.model.backbone.type == 'SparseViT'
    deploy(cfg, 'onnxruntime', None)
    deploy(cfg, None, 'float32', sizes=64)
    assert cfg.model.backbone.to_dict() == dict(
        type='DeployedBackbone',
        backbone=plain.model.backbone.to_dict(),
        engine='onnxruntime',
        precision='float32',
        sizes=64,
    )
    model = build_model(cfg)
    assert isinstance(model.backbone, DeployedBackbone)
    assert find_backbone(model) is model.backbone.backbone
    for whole in (True, False):
        assert check_checkpoint(str(classifier[1]), model, whole=whole) == []
    assert undeploy(cfg) == dict(engine='onnxruntime', precision='float32')
    assert cfg.model.backbone == plain.model.backbone
    with pytest.raises(BadInputError, match='needs one backbone in the config, which has none'):
        deploy(Config(dict(model=dict(type='ToyClassifier'))), 'onnxruntime', None)


@pytest.mark.slow
def test_a_detector_by_its_hosts_own_functions():
    mmdet_apis = pytest.importorskip('mmdet.apis')
    config = Config.fromfile(ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py')
    config.model.backbone.update(embed_dims=16, pruning_ratios=0.5)
    config.model.neck.in_channels = [32, 64, 128]
    config.model.init_cfg = config.load_from = None
    config.model.test_cfg.rcnn.score_thr = 0.0
    plain = mmdet_apis.init_detector(config, device='cpu', palette='random')
    deploy(config, 'onnxruntime', 'float32')
    deployed = mmdet_apis.init_detector(config, device='cpu', palette='random')
    deployed.load_state_dict(plain.state_dict())
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    ours, theirs = (
        mmdet_apis.inference_detector(model, image).pred_instances for model in (deployed, plain)
    )
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_search_and_a_table(call_tool, tmp_path, monkeypatch):
    """Latencies are the engine's, scores PyTorch's."""
    monkeypatch.setattr('sparse_mm.engine.search.tables.NOISY', 1e9)  # this machine may be busy
    settings = toy_config()
    Config(settings).dump(tmp_path / 'toy.py')
    torch.save(dict(state_dict=ToyClassifier().state_dict()), tmp_path / 'toy.pth')
    call_tool(
        *('search.py', 'toy.py', 'toy.pth', '--work-dir', 'run', '--budget', 'ms=9999'),
        *('--engine', 'onnxruntime', '--evaluations', 2, '--population', 2, '--num-images', 2),
        *('--choices', 0, 0.5, '--latency-seconds', 0.5, '--image-size', 48, 48, '--batch', 1),
    )
    table = LatencyTable.read(tmp_path / 'run' / 'sparsity_search' / 'latency_table.json')
    assert table.conditions['engine'] == 'onnxruntime'
    assert table.conditions['fit_error'] >= 0
    assert table.conditions['identity']['engine'] == ['onnxruntime', 'float32']
    best = json.loads((tmp_path / 'run' / 'sparsity_search' / 'best.json').read_text())
    assert best['pruning_ratios']


def test_errors_on_pictures(classifier, call_tool, refusal):
    tool = 'analysis_tools/engine_error.py'
    run = (tool, classifier[0], '--checkpoint', classifier[1], '--images', 2)
    several = ('--ratios', 0, 0.5, '--metric', 'accuracy/top1')
    printed = call_tool(*run, *several, '--engine', 'torch', 'onnxruntime', '--json')
    rows = json.loads(printed.splitlines()[-1])
    assert [(row['ratios'], row['engine'], row['precision']) for row in rows] == [
        (ratios, *engine)
        for ratios in ('0', '0.5')
        for engine in (('torch', 'float32'), ('torch', 'bfloat16'), ('onnxruntime', 'float32'))
    ]
    for plain, bfloat16, exported in (rows[:3], rows[3:]):
        assert plain['errors']['stage0'] == 0
        assert 1e-4 < bfloat16['errors']['stage0'] < 0.1
        assert exported['errors']['stage0'] < 1e-5
        accuracies = [row['metrics']['accuracy/top1'] for row in (plain, exported)]
        assert accuracies[0] == accuracies[1] in (0, 25, 50, 75, 100)
    assert 'windows_changed' not in rows[2]  # dense: no window is selected
    assert rows[5]['windows_changed'] == 0
    assert 0 <= rows[4]['windows_changed'] <= 0.5
    table = call_tool(*run, '--engine', 'onnxruntime').splitlines()
    assert table[2].startswith('| as saved | onnxruntime | float32 | ')
    assert table[2].endswith(' | 0.00% |')
    message = refusal(*run, '--engine', 'torch', '--precision', 'float32')
    assert 'There is nothing to compare' in message
    message = refusal(*run, '--engine', 'torch', '--metric', 'accuracy/top2')
    assert "evaluator gives accuracy/top1; did you mean 'accuracy/top1'?" in message


@pytest.mark.parametrize('engine', ['torch', 'onnxruntime', 'openvino'])
def test_the_windows_that_an_engine_computes(engine, tmp_path):
    """The selected windows are outputs of the engine's graph."""
    if engine == 'openvino':
        require_engine('openvino')
    error = runpy.run_path(str(ROOT / 'tools' / 'analysis_tools' / 'engine_error.py'))
    assert error['share_changed']([{0, 7}, {14, 21}], [{7, 0}, {14, 28}]) == 0.25
    backbone = SparseViT(embed_dims=8, depths=(2,), num_heads=(1,), strides=(4,), out_indices=(0,))
    backbone.eval()
    images = torch.zeros(2, 3, 56, 56)
    images[0, :, 28:, :28], images[1, :, :28, 28:] = 5, 5  # one window of each stands out
    backbone.set_pruning_ratios([0, 0.7])
    backbone.stages[0].blocks[0].compute = lambda windows, kept: windows  # unchanged
    with torch.no_grad():
        backbone.patch_embed.norm = None
        comparison = error['Comparison'](backbone, [(engine, 'float32')], tmp_path)
        rows = comparison._windows_in((engine, 'float32'), images)(images)
    # 14 x 14 tokens, the shifted grid: only the block that prunes windows is reported.
    assert len(rows) == 1
    assert rows[0].shape == (2, 49)
    in_map = [{*window.tolist()} for window in rows[0]]
    stands_out = [{14 * y + x for y in range(7, 14) for x in range(7)}]
    stands_out.append({14 * y + x + 196 for y in range(7) for x in range(7, 14)})
    for window, region in zip(in_map, stands_out, strict=True):
        assert len(window & region) >= 16


def test_a_benchmark_of_engines(call_tool, tmp_path):
    printed = call_tool(
        *('analysis_tools/benchmark.py', '--run', 'dense', 'SparseViT', *ONE_BLOCK),
        *('--run', 'sparse', 'SparseViT', *ONE_BLOCK, 'pruning_ratios=0.5'),
        *('--engine', 'torch', 'onnxruntime', '--precision', 'float32', 'bfloat16'),
        *('--shape', 64, 64, '--seconds', 0.1, '--matrix', 64, '--threads', 1),
        *('--json', 'found.json', '--baseline', 'dense'),
    )
    found = json.loads((tmp_path / 'found.json').read_text())
    assert [(row['name'], row['engine'], row['precision']) for row in found['runs']] == [
        (f'{name}, {engine} {precision}', engine, precision)
        for engine, precision in (
            ('torch', 'float32'),
            ('torch', 'bfloat16'),
            ('onnxruntime', 'float32'),
        )
        for name in ('dense', 'sparse')
    ]
    for row in found['runs'][::2]:
        assert row['in_engine'] == 1
    assert 'in its engine: of the baseline in the same engine and precision' in printed
    assert 'torch.mm, bfloat16' in {product['name'] for product in found['matrix_products']}


def test_a_benchmark_leaves_out_what_a_host_cannot_compute(call_tool):
    """mmdet's shifted blocks do not run in pure bfloat16; the others are still measured."""
    two_blocks = (*ONE_BLOCK, 'depths=[2]')
    printed = call_tool(
        *('analysis_tools/benchmark.py', '--run', 'swin', 'mmdet.SwinTransformer', *two_blocks),
        *('--run', 'ours', 'SparseViT', *ONE_BLOCK, '--precision', 'float32', 'bfloat16'),
        *('--shape', 56, 56, '--seconds', 0.1, '--matrix', 64, '--threads', 1),
    )
    rows = [line.split(' | ')[0] for line in printed.splitlines() if line.startswith('| ')][2:]
    assert rows == ['| swin, torch float32', '| ours, torch float32', '| ours, torch bfloat16']
    assert 'left out: swin, torch bfloat16, ' in printed


def test_a_baseline_that_cannot_be_computed_is_refused(refusal):
    two_blocks = (*ONE_BLOCK, 'depths=[2]')
    told = refusal(
        *('analysis_tools/benchmark.py', '--run', 'swin', 'mmdet.SwinTransformer', *two_blocks),
        *('--run', 'ours', 'SparseViT', *ONE_BLOCK, '--precision', 'bfloat16'),
        *('--shape', 56, 56, '--threads', 1, '--baseline', 'swin'),
    )
    assert '--baseline swin cannot be computed here (' in told


def test_a_benchmark_refuses_what_an_engine_cannot_do(refusal):
    tool = 'analysis_tools/benchmark.py'
    run = ('--run', 'a', 'SparseViT', *ONE_BLOCK, '--shape', 64, 64)
    one = (*run, '--engine', 'onnxruntime')
    assert 'are for inference without --compile' in refusal(tool, *one, '--train')
    assert 'computes in float32, not in' in refusal(tool, *one, '--precision', 'bfloat16')
    drawn = (*run[:4], 'pruning_ratios=random', *run[4:], '--engine', 'onnxruntime')
    assert 'a graph for each setting of the ratios' in refusal(tool, *drawn)
