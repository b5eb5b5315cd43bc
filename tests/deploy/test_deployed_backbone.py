"""A backbone on an engine gives the backbone's outputs, also after each change of it."""

import pickle
import shutil
from copy import deepcopy
from importlib.util import find_spec

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from sparse_mm.deploy import DeployedBackbone
from sparse_mm.deploy.sizes import crop, graph_size, read_grid
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT
from sparse_mm.models.backbones.mmpretrain_swin import MMPretrainSparseViT
from tests.conftest import require_engine

# One block: what is exported here is exported often.
VIT = dict(
    type='SparseViT', embed_dims=8, depths=(1,), num_heads=(2,), strides=(4,), out_indices=(0,)
)
TWO_STAGES = dict(VIT, depths=(2, 1), num_heads=(2, 4), strides=(4, 2), out_indices=(0, 1))
FORMER = dict(
    type='SparseFormer',
    arch=dict(num_tokens=5, dims=(16, 32), depth=1, drop_path_rate=0.1),
    focusing_repeats=1,
    num_heads=4,
    num_points=6,
    feature_channels=8,
)


def random_weights(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.1)
    return module


def deployed(engine='onnxruntime', model=VIT, **settings):
    init_default_scope('mmdet')
    built = MODELS.build(dict(type='DeployedBackbone', backbone=model, engine=engine, **settings))
    return random_weights(built).eval()


def graphs(cache):
    return sorted(path.name for path in cache.glob('*') if path.is_dir())


def check_equal(model, images, tolerance=1e-4):
    with torch.no_grad():
        found, expected = model(images), model.backbone(images)
    assert type(found) is type(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == images.dtype
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ('engine', 'model'),
    [
        ('onnxruntime', dict(TWO_STAGES, pruning_ratios=[0.5, 0.3])),
        ('onnxruntime', FORMER),
        ('openvino', dict(TWO_STAGES, pruning_ratios=0.5)),
    ],
)
def test_one_file_serves_all_batches(engine, model, cache):
    require_engine(engine)
    model = deployed(engine, model)
    check_equal(model, torch.randn(1, 3, 50, 75))
    check_equal(model, torch.randn(3, 3, 50, 75))
    assert len(graphs(cache)) == 1


def test_never_stale(cache, tmp_path):
    """Ratios, loaded weights, writes through .data, an override and its end take effect."""
    model = deployed()
    images = torch.randn(1, 3, 56, 56)
    check_equal(model, images)
    model.set_pruning_ratios(0.6)
    assert model.pruning_ratios == [[0.6]]
    check_equal(model, images)
    model.override_ratios(0.8)
    check_equal(model, images)
    model.override_ratios(None)
    check_equal(model, images)
    assert len(graphs(cache)) == 3
    other = random_weights(MODELS.build(dict(VIT, pruning_ratios=0.5)))
    torch.save(dict(state_dict=other.state_dict()), tmp_path / 'other.pth')
    load_checkpoint(model, str(tmp_path / 'other.pth'))
    assert model.pruning_ratios == [[0.5]]
    check_equal(model, images)
    for parameter in model.parameters():  # as averaged weights are exchanged
        parameter.data.mul_(1.1)
    check_equal(model, images)
    model.backbone.stages[0].blocks[0].norm1.weight.data[-1] = 3.0
    check_equal(model, images)
    assert len(graphs(cache)) == 6


def test_weights_have_the_backbones_names(tmp_path):
    """In a detector: checkpoints of the plain and of the deployed model fit each other."""
    plain = nn.ModuleDict(dict(backbone=random_weights(SparseViT(**without_type(VIT)))))
    around = nn.ModuleDict(dict(backbone=deployed(), head=nn.Linear(2, 3)))
    names = [name for name in around.state_dict() if not name.startswith('head')]
    assert names == list(plain.state_dict())
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    load_checkpoint(around, str(tmp_path / 'plain.pth'))
    for ours, theirs in zip(around.backbone.backbone.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    plain.load_state_dict(around['backbone'].state_dict(prefix='backbone.'), strict=True)
    around.load_state_dict(around.state_dict(), strict=True)


def without_type(config):
    return {name: value for name, value in config.items() if name != 'type'}


def test_weights_of_another_model_are_refused():
    model = deployed()
    wider = SparseViT(**{**without_type(VIT), 'embed_dims': 32})
    with pytest.raises(BadInputError, match='of another model than this SparseViT: their shapes'):
        model.load_state_dict(wider.state_dict())
    weights = model.state_dict()
    del weights['stages.0.blocks.0.norm1.weight']
    with pytest.raises(BadInputError, match=r'they lack stages\.0\.blocks\.0\.norm1\.weight'):
        model.load_state_dict(weights, strict=False)


def test_bfloat16_is_near(cache):
    require_engine('openvino')
    for engine in ('openvino', 'torch'):
        model = deployed(engine, precision='bfloat16')
        images = torch.randn(2, 3, 56, 56)
        with torch.no_grad():
            for ours, theirs in zip(model(images), model.backbone(images), strict=True):
                assert ours.dtype == torch.float32
                assert 0 < (ours - theirs).norm() / theirs.norm() < 0.05


def test_pytorchs_bfloat16_follows_the_weights():
    model = deployed('torch', precision='bfloat16')
    images = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        before = model(images)[0]
        model.backbone.patch_embed.projection.weight.mul_(2)
        assert not torch.equal(model(images)[0], before)
        model.set_pruning_ratios(0.6)
        pruned = model.backbone(images)[0]
        assert (model(images)[0] - pruned).norm() / pruned.norm() < 0.05


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='torch.compile needs a C++ compiler')
def test_compiled():
    model = deployed('compile')
    check_equal(model, torch.randn(1, 3, 56, 56))
    model.set_pruning_ratios(0.5)
    check_equal(model, torch.randn(1, 3, 56, 56))


@pytest.mark.parametrize('strides', [(4, 2, 2, 2), (6, 3, 2)])
@pytest.mark.parametrize(('padded', 'size'), [((900, 900), (832, 801)), ((600, 1000), (599, 800))])
def test_maps_are_cropped_as_the_backbone_makes_them(strides, padded, size):
    def maps(sides):
        found = []
        for stride in strides:
            sides = [-(-side // stride) for side in sides]
            found.append(torch.zeros(1, 1, *sides))
        return found

    cropped = crop(maps(padded), padded, size)
    assert [one.shape for one in cropped] == [one.shape for one in maps(size)]


def test_padding_to_a_few_sizes(cache):
    """Cropped maps have the sizes of the image alone; larger images than all sizes are refused."""
    model = deployed(sizes=[(56, 84), (84, 112)])
    with torch.no_grad():
        for size in ((50, 75), (56, 70), (28, 84)):
            found = model(torch.randn(1, 3, *size))
            assert [out.shape for out in found] == [
                out.shape for out in model.backbone(torch.randn(1, 3, *size))
            ]
    assert len(graphs(cache)) == 1
    check_equal(model, torch.randn(1, 3, 84, 112))
    with pytest.raises(BadInputError, match=r'100x100 are larger than .* 56x84, 84x112; add'):
        model(torch.randn(1, 3, 100, 100))
    padded = torch.zeros(1, 3, 56, 84)
    padded[..., :50, :75] = torch.randn(50, 75)
    with torch.no_grad():
        torch.testing.assert_close(
            model(padded[..., :50, :75])[0],
            model.backbone(padded)[0][..., :13, :19],
            rtol=1e-4,
            atol=1e-4,
        )
    assert graph_size((50, 75), read_grid(64)) == (64, 128)
    with pytest.raises(BadInputError, match='pads images, which only backbones that return maps'):
        deployed(model=FORMER, sizes=64)(torch.randn(1, 3, 50, 75))


def test_another_hosts_backbone():
    init_default_scope('mmdet')
    resnet = dict(
        type='ResNet',
        depth=18,
        base_channels=8,
        num_stages=1,
        strides=(1,),
        dilations=(1,),
        out_indices=(0,),
    )
    check_equal(deployed(model=resnet), torch.randn(2, 3, 40, 56))


class Choosy(nn.Module):
    """Its control flow depends on the input, which cannot be exported."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        return images * self.weight if images.sum() > 0 else -images


def test_what_cannot_be_exported_is_reported():
    with pytest.raises(BadInputError, match='No onnxruntime graph can be made of this Choosy'):
        DeployedBackbone(Choosy(), 'onnxruntime').eval()(torch.ones(1, 3, 8, 8))
    with pytest.raises(BadInputError, match='returns a dict cannot be deployed'):
        model = DeployedBackbone(nn.Conv2d(3, 3, 1), 'onnxruntime').eval()
        model.backbone.register_forward_hook(lambda *_: {})
        model(torch.ones(1, 3, 8, 8))


def test_copies_and_other_dtypes():
    model = deployed()
    images = torch.randn(1, 3, 56, 56)
    check_equal(model, images)
    check_equal(deepcopy(model), images)
    check_equal(pickle.loads(pickle.dumps(model)), images)
    with torch.inference_mode():
        again = deployed()
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(images)[0], model(images)[0])
    half = model.bfloat16()
    assert half(images.bfloat16())[0].dtype == torch.bfloat16


def test_refusals(monkeypatch):
    def refused(match, **settings):
        with pytest.raises(BadInputError, match=match):
            deployed(**settings)

    refused("engine must be one of torch, .*did you mean 'openvino'", engine='OpenVino')
    refused("precision must be float32 or bfloat16, not 'int8'", precision='int8')
    refused("'onnxruntime' computes in float32, not in 'bfloat16'", precision='bfloat16')
    refused('sizes must be None, a number', sizes=[(0, 4)])
    refused('sizes must be None, a number', sizes='big')
    refused('cache_gib must be above 0', cache_gib=0)
    refused('cannot be deployed again', model=dict(type='DeployedBackbone', backbone=VIT))
    model = deployed()
    with pytest.raises(BadInputError, match=r'call model\.eval'):
        model.train()(torch.randn(1, 3, 56, 56))
    model.eval()
    with pytest.raises(BadInputError, match='computes on a CPU, and the images are on meta'):
        model(torch.randn(1, 3, 56, 56, device='meta'))
    with pytest.raises(BadInputError, match='use the backbone itself for clips'):
        model(torch.randn(1, 3, 4, 56, 56))
    small = dict(type='SparseViT', arch=dict(embed_dims=16, depths=[1, 1], num_heads=[2, 4]))
    small['out_indices'] = [1]
    with pytest.raises(BadInputError, match='smaller than the window'):
        deployed(model=small)(torch.randn(1, 3, 8, 8))
    assert isinstance(MODELS.build(small), MMPretrainSparseViT)
    for engine, package in (('onnxruntime', 'onnxscript'), ('openvino', 'openvino')):
        monkeypatch.setattr(
            'sparse_mm.deploy.engine.find_spec',
            lambda name, gone=package: None if name == gone else find_spec(name),
        )
        refused(rf'needs {package}; pip install "sparse_mm\[deploy\]"', engine=engine)


def test_a_graph_that_differs_is_not_used(monkeypatch):
    engine = deployed().engine
    honest = type(engine).prepare

    def wrong(self, graph):
        run = honest(self, graph)
        return lambda images: [out + 0.1 for out in run(images)]

    monkeypatch.setattr(type(engine), 'prepare', wrong)
    with pytest.raises(BadInputError, match="stage0 differs from PyTorch's by"):
        deployed()(torch.randn(1, 3, 56, 56))
