"""``engine='graph'``: CUDA graphs of a backbone, with a stand-in for the graphs themselves.

The stand-in captures a pass's operators with the memory that they read, and runs them again, as a
CUDA graph does; so a graph that is kept too long gives wrong outputs. On a GPU
``tools/gpu_check.py`` compares the real ones.
"""

import pytest
import torch
from mmengine.registry import MODELS
from torch.fx.experimental.proxy_tensor import make_fx

from sparse_mm.deploy import ENGINES, graph_engine
from sparse_mm.errors import BadInputError
from tests.models.backbones.reference import relative_error
from tests.models.backbones.test_sparse_vit import randomize

VIT = dict(
    type='SparseViT',
    embed_dims=8,
    depths=(2, 1),
    num_heads=(1, 2),
    strides=(4, 2),
    out_indices=(0, 1),
    drop_path_rate=0.0,
)


class Replayed:
    made = 0

    def __init__(self, run, images):
        Replayed.made += 1
        with torch.no_grad():
            self.operators = make_fx(run)(images)
        self.shape, self.dtype = images.shape, images.dtype

    def __call__(self, images):
        assert images.shape == self.shape  # a graph has one shape
        return tuple(self.operators(images.to(self.dtype)))


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    monkeypatch.setattr(graph_engine, 'Recording', Replayed)
    monkeypatch.setattr(graph_engine.GraphEngine, 'devices', ('cpu',))
    monkeypatch.setattr(graph_engine, 'a_gpu_is_there', lambda: True)
    Replayed.made = 0


def deployed(**settings):
    config = dict(type='DeployedBackbone', backbone=VIT, engine='graph', **settings)
    model = MODELS.build(config)
    randomize(model.backbone)
    return model.eval()


def check(model, images, tolerance=1e-5):
    with torch.no_grad():
        for found, expected in zip(model(images), model.backbone(images), strict=True):
            assert found.dtype == images.dtype
            assert relative_error(found, expected) < tolerance


def test_one_graph_for_two_images():
    model = deployed()
    for _ in range(2):
        check(model, torch.randn(2, 3, 60, 90))
    assert Replayed.made == 1


def test_half_precision():
    model = deployed(precision='bfloat16')
    check(model, torch.randn(1, 3, 56, 56), tolerance=0.05)


def test_a_graph_never_serves_other_ratios_sizes_or_weights():
    model, images = deployed(), torch.randn(1, 3, 60, 90)
    check(model, images)
    for ratios in (0.5, [0.3, 0], 0.5, None):
        model.set_pruning_ratios(ratios)
        check(model, images)
    assert Replayed.made == 3  # the graphs of a setting are kept
    check(model, torch.randn(1, 3, 90, 60))
    check(model, torch.randn(3, 3, 60, 90))
    assert Replayed.made == 5
    with torch.no_grad():
        model.backbone.stages[0].blocks[0].ffn.layers[1].weight.mul_(3)
    check(model, images)
    model.backbone.norm0.weight = torch.nn.Parameter(torch.full((8,), 2.0))
    check(model, images)
    model.load_state_dict(deployed().state_dict())
    check(model, images)
    assert Replayed.made == 8


def test_few_graphs_are_kept():
    model = deployed(max_graphs=2)
    sizes = [(60, 60), (60, 90), (90, 60), (60, 60)]
    for size in sizes:
        check(model, torch.randn(1, 3, *size))
    assert Replayed.made == 4
    check(model, torch.randn(1, 3, 90, 60))
    assert Replayed.made == 4


def test_a_missing_gpu_is_reported(monkeypatch):
    monkeypatch.setattr(graph_engine, 'a_gpu_is_there', lambda: False)
    with pytest.raises(BadInputError, match='torch sees no CUDA device'):
        deployed()
    assert 'graph' in ENGINES
