"""Contents of exported graphs, and outputs of engines for maps of a single window."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparse_mm.deploy.export import random_images, to_onnx, write_onnx
from sparse_mm.models import SparseViT
from tests.conftest import require_engine
from tests.deploy.test_deployed_backbone import VIT, check_equal, deployed, without_type


def test_no_transpose_leaves_the_order_as_it_is(tmp_path):
    """ONNX Runtime would copy the map for each transpose."""
    onnx = pytest.importorskip('onnx')
    backbone = SparseViT(**{**without_type(VIT), 'depths': (2,)}, pruning_ratios=0.5).eval()
    write_onnx(backbone, random_images(1, (56, 56)), tmp_path / 'x.onnx', {}, ['stage0'], True)
    nodes = onnx.load(tmp_path / 'x.onnx').graph.node
    orders = [list(node.attribute[0].ints) for node in nodes if node.op_type == 'Transpose']
    assert orders
    assert [order for order in orders if order == sorted(order)] == []


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_a_map_of_one_window(engine):
    """The only window is always computed; OpenVINO lost the batch in a top-k of one score."""
    require_engine(engine)
    check_equal(deployed(engine, dict(VIT, pruning_ratios=0.5)), torch.randn(3, 3, 28, 28))


class Sampling(nn.Module):
    """Samples a map where a generator says, with options of grid_sample."""

    def __init__(self, places, **options):
        super().__init__()
        self.options = options
        self.points = nn.Parameter(torch.rand(2, *places) * 3 - 1.5)

    def forward(self, images):
        points = self.points * (1 + images.mean() / 100)  # so that it is no constant
        return F.grid_sample(images, points, **self.options)


@pytest.mark.parametrize('padding', ['zeros', 'border', 'reflection'])
@pytest.mark.parametrize('align', [False, True])
@pytest.mark.parametrize('shape', [(2, 3, 5, 9), (2, 3, 4, 5, 9)], ids=['images', 'clips'])
def test_sampling_by_rows(tmp_path, padding, align, shape):
    """In ONNX Runtime, which has no GridSample of clips before opset 20."""
    if padding == 'reflection' and len(shape) == 5:
        pytest.skip('the exporter has GridSample for images only')
    onnx = pytest.importorskip('onnx')
    require_engine('onnxruntime')
    axes = len(shape) - 2
    places = (7, 3, axes) if axes == 2 else (7, 3, 1, axes)
    module = Sampling(places, padding_mode=padding, align_corners=align).eval()
    images, path = torch.randn(shape), tmp_path / 'x.onnx'
    run = to_onnx(module, images, path, {}, ['out'])
    torch.testing.assert_close(run(images)[0], module(images), rtol=1e-4, atol=1e-4)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert ('GridSample' in kinds) == (padding == 'reflection')


@pytest.mark.parametrize('approximate', ['none', 'tanh'])
def test_gelu(tmp_path, approximate):
    """ONNX Runtime recognises the exact one in one order of operations only."""
    onnx = pytest.importorskip('onnx')
    require_engine('onnxruntime')
    import onnxruntime

    module = nn.Sequential(nn.Linear(6, 6, bias=False), nn.GELU(approximate)).eval()
    images, path = torch.randn(2, 3, 4, 6), tmp_path / 'x.onnx'
    run = to_onnx(module, images, path, {}, ['out'])
    torch.testing.assert_close(run(images)[0], module(images), rtol=1e-5, atol=1e-5)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / 'fused.onnx')
    onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    kinds = [node.op_type for node in onnx.load(tmp_path / 'fused.onnx').graph.node]
    assert (kinds == ['MatMul', 'Gelu']) == (approximate == 'none')
