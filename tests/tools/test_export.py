"""tools/deployment/export.py: the exported file gives PyTorch's outputs, with the right MACs."""

import runpy
import sys
import warnings
from functools import partial

import onnx
import onnxruntime
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sparse_mm.deploy.export import write_onnx
from sparse_mm.errors import BadInputError
from sparse_mm.models.layers.windows import make_window_grid, rank_windows
from tests.conftest import ROOT

TOOL = 'deployment/export.py'
VIT = dict(
    type='SparseViT',
    embed_dims=16,
    depths=(2, 1),
    num_heads=(2, 4),
    strides=(4, 2),
    out_indices=(0, 1),
)
FORMER = dict(
    type='SparseFormer',
    arch=dict(num_tokens=5, dims=(16, 32), depth=2, drop_path_rate=0.1),
    focusing_repeats=2,
    num_heads=4,
    num_points=6,
    feature_channels=8,
    out_type='tokens',
)
BOOTSTRAPPED = dict(
    type='BootstrappedSparseFormer',
    arch=dict(num_tokens=5, dims=(64, 64), depth=1, activation='quick_gelu'),
    num_points=4,
    channels=8,
    focusing_repeats=2,
)
RATIOS = [[0.6, 0.6], [0.3]]


@pytest.fixture
def config(tmp_path):
    """Writes the config of a model; gives the model with random weights and the file's path."""

    def write(model):
        path = tmp_path / 'config.py'
        path.write_text(
            f"custom_imports = dict(imports=['sparse_mm'])\nmodel = {model!r}\n"
            "default_scope = 'mmpretrain'\n"
            "test_pipeline = [dict(type='Resize', scale=(84, 56), keep_ratio=False)]\n"
            'test_dataloader = dict(dataset=dict(pipeline=test_pipeline))\n'
        )
        init_default_scope('mmpretrain')
        built = MODELS.build(model).eval()
        for parameter in built.parameters():
            nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.1)
        return built, path

    return write


@pytest.fixture
def checkpoint(config, tmp_path):
    """The same, and a checkpoint of the weights."""

    def write(model):
        built, path = config(model)
        torch.save(dict(state_dict=built.state_dict()), tmp_path / 'weights.pth')
        return built, path, tmp_path / 'weights.pth'

    return write


def load(path):
    """Gives a function that runs an exported file, without this package's code."""
    if path.suffix == '.pt2':
        module = torch.export.load(path).module()
        return lambda images: list(module(images))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda images: [torch.tensor(y) for y in session.run(None, {'images': images.numpy()})]


def check_equal(path, model, images):
    with torch.no_grad():
        for ours, theirs in zip(load(path)(images), model(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def macs_of_onnx(path):
    """Multiply-accumulates of a graph, all of whose shapes must be known."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {weight.name: list(weight.dims) for weight in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type in ('MatMul', 'Gemm', 'Conv'):
            out = torch.Size(shapes[node.output[0]]).numel()
            inner = shapes[node.input[0]][-1]
            if node.op_type == 'Conv':
                inner = torch.Size(shapes[node.input[1]][1:]).numel()
            assert out * inner > 0
            total += out * inner
    return total


def macs_of(run, images):
    # PyTorch's counter does not know the CPU's fused attention.
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):
        run(images)
    return counter.get_total_flops() // 2


def test_onnx_holds_no_resizing_of_the_position_embedding(config, call_tool, tmp_path):
    """A resize would stay in the graph, and take minutes to export at usual sizes."""
    _, path = config(dict(VIT, use_abs_pos_embed=True, pretrain_img_size=64))
    call_tool(TOOL, path, '--out', 'absolute.onnx')
    graph = onnx.load(tmp_path / 'absolute.onnx').graph
    assert 'Resize' not in {node.op_type for node in graph.node}


def test_onnx_of_a_dense_backbone(config, call_tool, tmp_path):
    """The size is the pipeline's; without a checkpoint the weights are random."""
    model, path = config(VIT)
    out = call_tool(TOOL, path, '--out', 'new/dense.onnx')
    assert 'SparseViT, random weights' in out
    assert 'images     1 x 3 x 56 x 84\nstage0     1 x 16 x 14 x 21 ' in out
    assert 'written: new/dense.onnx' in out
    exported = tmp_path / 'new' / 'dense.onnx'
    assert [file.name for file in exported.parent.iterdir()] == ['dense.onnx']
    assert macs_of_onnx(exported) == macs_of(model, torch.randn(1, 3, 56, 84))


@pytest.mark.parametrize('size', [(56, 84), (50, 75)])
def test_onnx_with_ratios(checkpoint, call_tool, tmp_path, size):
    """Those of the checkpoint or of --ratios are in the graph; the second size needs padding."""
    model, path, weights = checkpoint(dict(VIT, pruning_ratios=RATIOS))
    _, path = checkpoint(VIT)[:2]  # the config itself is dense
    torch.save(model.state_dict(), weights)
    given = ()
    if size == (56, 84):
        given = '--ratios', '[0.8, 0.5]'
        model.set_pruning_ratios([0.8, 0.5])
    out = call_tool(
        *(TOOL, path, weights, '--out', 'm.onnx', '--shape', *size, '--batch', 2, *given)
    )
    assert f'pruning ratios: {model.pruning_ratios}' in out
    images = torch.randn(2, 3, *size)
    exported = tmp_path / 'm.onnx'
    check_equal(exported, model, images)
    macs = macs_of(model, images)
    assert macs_of_onnx(exported) == macs
    model.set_pruning_ratios(None)
    assert macs < 0.7 * macs_of(model, images)
    meta = {prop.key: prop.value for prop in onnx.load(exported).metadata_props}
    assert meta['backbone'] == 'SparseViT'
    assert meta['pruning_ratios'] == ('[[0.8, 0.8], [0.5]]' if given else str(RATIOS))


@pytest.mark.parametrize(
    ('backbone', 'names'),
    [(FORMER, ['tokens', 'rois', 'features']), (BOOTSTRAPPED, ['pooled'])],
)
def test_onnx_of_latent_tokens(checkpoint, call_tool, tmp_path, backbone, names):
    """The backbone is inside another model, of which the checkpoint is."""
    model, path, weights = checkpoint(dict(type='ImageClassifier', backbone=backbone))
    call_tool(TOOL, path, weights, '--out', 'm.onnx', '--shape', 45, 70)
    graph = onnx.load(tmp_path / 'm.onnx').graph
    assert [output.name for output in graph.output] == names
    check_equal(tmp_path / 'm.onnx', model.backbone, torch.randn(1, 3, 45, 70))


@pytest.mark.parametrize('backbone', [dict(VIT, pruning_ratios=RATIOS), FORMER])
def test_a_program_of_torch_export(checkpoint, call_tool, tmp_path, backbone):
    model, path, weights = checkpoint(backbone)
    call_tool(TOOL, path, weights, '--out', 'm.pt2', '--shape', 50, 75)
    images = torch.randn(1, 3, 50, 75)
    check_equal(tmp_path / 'm.pt2', model, images)
    assert macs_of(load(tmp_path / 'm.pt2'), images) == macs_of(model, images)


class Ranking(nn.Module):
    """The ranking of windows alone."""

    def __init__(self):
        super().__init__()
        self.grid = make_window_grid(16, 20, 4, 0, torch.device('cpu'))

    def forward(self, importance):
        return (rank_windows(importance, self.grid),)


def test_equal_windows_rank_in_their_order(tmp_path):
    tool = runpy.run_path(str(ROOT / 'tools' / TOOL))
    importance = torch.ones(2, 320)
    importance[1, torch.randperm(320)[:40]] = 2.0
    expected = Ranking()(importance)[0]
    assert torch.equal(expected[0], torch.arange(20))
    run = tool['to_onnx'](Ranking(), importance, tmp_path / 'ranking.onnx', {}, ['order'])
    assert torch.equal(run(importance)[0], expected)


def test_a_wrong_file_never_takes_its_name(config, tmp_path, monkeypatch):
    tool = runpy.run_path(str(ROOT / 'tools' / TOOL))
    wrong = tmp_path / 'm.pt2'
    wrong.write_text('kept')
    kept = {file.name for file in tmp_path.iterdir()} | {'config.py'}
    monkeypatch.setattr(
        sys, 'argv', [TOOL, str(config(VIT)[1]), '--out', str(wrong), '--shape', '28', '28']
    )
    main = tool['main']
    honest = tool['to_program']

    def rounds(*arguments):
        run = honest(*arguments)
        return lambda images: [out + 0.1 for out in run(images)]

    monkeypatch.setitem(main.__wrapped__.__globals__, 'to_program', rounds)
    with pytest.raises(BadInputError, match=r"file's stage0 differs from PyTorch's by 0.*nothing"):
        main()
    assert wrong.read_text() == 'kept'
    assert {file.name for file in tmp_path.iterdir()} == kept


def test_refusals(checkpoint, refusal, tmp_path, monkeypatch):
    _, path, _ = checkpoint(FORMER)
    export = partial(refusal, TOOL, path)
    assert 'must end in .onnx or .pt2' in export('--out', 'm.pb')
    assert '--shape and --frames must be at least 1' in export('--out', 'm.pt2', '--batch', 0)
    assert 'SparseFormer cannot be pruned' in export('--out', 'm.pt2', '--ratios', '0.5')
    assert 'smaller than the stride' in export('--out', 'm.pt2', '--shape', 2, 60)
    assert "'none.pth' does not exist" in export('none.pth', '--out', 'm.pt2')
    torch.save({'backbone.other.weight': torch.zeros(1)}, tmp_path / 'foreign.pth')
    assert 'is of another model' in export('foreign.pth', '--out', 'm.pt2')
    assert 'cannot be written (Not a directory)' in export('--out', 'config.py/m.pt2')
    (tmp_path / 'folder.pt2').mkdir()
    assert 'is a folder' in export('--out', 'folder.pt2')
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, 'onnxscript', None)
        message = export('--out', 'm.onnx')
        assert 'needs onnxscript; pip install -r requirements/deployment.txt' in message

    checkpoint(VIT)
    assert 'is of another model' in export('foreign.pth', '--out', 'm.pt2')
    assert 'must be' in export('--out', 'm.pt2', '--ratios', '[0.5, 1.5]')
    checkpoint(dict(type='LatentToPyramid', in_channels=8))
    assert 'has no backbones of the kinds SparseViT, SparseViTV2, SparseFormer' in export(
        '--out', 'm.pt2'
    )
    assert not list(tmp_path.glob('*m.*'))
    assert not list(tmp_path.glob('.*'))


def test_nothing_but_the_backbone_is_built(checkpoint, call_tool, tmp_path):
    """A text model would be downloaded, so only the backbone is built from the whole checkpoint."""
    model, path, _ = checkpoint(dict(type='ImageClassifier', backbone=VIT))
    texts = dict(type='BertModel', name='nowhere')
    whole = dict(type='GroundingDINO', backbone=VIT, language_model=texts)
    path.write_text(f"custom_imports = dict(imports=['sparse_mm'])\nmodel = {whole!r}\n")
    weights = {f'detector.{name}': value for name, value in model.state_dict().items()}
    torch.save(dict(state_dict={**weights, 'head.weight': torch.zeros(1)}), tmp_path / 'whole.pth')
    call_tool(TOOL, path, 'whole.pth', '--out', 'm.pt2', '--shape', 56, 84)
    x = torch.randn(1, 3, 56, 84)
    exported = torch.export.load(tmp_path / 'm.pt2').module()
    for found, expected in zip(exported(x), model.backbone(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_deprecations_inside_of_the_exporter_are_not_shown(tmp_path):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        write_onnx(nn.Linear(2, 2).eval(), torch.ones(1, 2), tmp_path / 'model.onnx', {}, ['y'])
    assert not [one for one in shown if 'treespec' in str(one.message)]
