"""Contents of exported graphs, and outputs of engines for maps of a single window."""

import pytest
import torch

from sparse_mm.deploy.export import random_images, write_onnx
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
