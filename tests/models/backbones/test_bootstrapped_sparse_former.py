"""Bootstrapped SparseFormers: sizes, archs, gradients, refused settings."""

import pytest
import torch
from mmengine.registry import MODELS

from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer
from sparse_mm.models.layers.rois import encode_rois

SMALL = dict(
    arch=dict(num_tokens=6, dims=(64, 128), depth=2, activation='quick_gelu'),
    num_points=4,
    channels=8,
)


@pytest.mark.parametrize(
    ('arch', 'tokens', 'dims', 'depth'),
    [
        ('augreg_base', 48, (384, 768), 8),
        ('augreg_large', 48, (512, 1024), 16),
        ('clip_base', 48, (384, 768), 8),
        ('clip_large', 63, (512, 1024), 16),
    ],
)
def test_archs(arch, tokens, dims, depth):
    with torch.device('meta'):
        model = BootstrappedSparseFormer(arch)
    assert model.token_rois.shape == (tokens, 4)
    assert (model.transition.in_features, model.transition.out_features) == dims
    assert len(model.blocks) == depth
    quick = type(model.blocks[0].ffn[1]).__name__ == 'QuickGELU'
    assert quick == arch.startswith('clip')
    assert type(model.focusing.block.ffn[1]).__name__ == 'GELU'  # only inherited blocks have it


@pytest.mark.parametrize('with_cp', [False, True])
def test_it_learns_at_any_size(with_cp):
    model = BootstrappedSparseFormer(**SMALL, with_cp=with_cp, out_type='tokens')
    model.init_weights()
    model.train()
    tokens, rois, features = model(torch.randn(2, 3, 45, 70))
    assert tokens.shape == (2, 6, 128)
    assert rois.shape == (2, 6, 4)
    assert features.shape == (2, 8, 12, 18)
    (tokens.square().mean() + rois.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    model.out_type = 'pooled'
    assert model(torch.randn(2, 3, 32, 32))[0].shape == (2, 128)


def test_the_code_of_a_roi():
    rois = torch.tensor([[[0.0, 0.0, 1.0, 0.5]]])
    code = encode_rois(rois, 16).view(4, 4)
    assert torch.allclose(code[0], torch.tensor([0.0, 0.0, 1.0, 1.0]))  # sines, then cosines
    assert torch.allclose(code[3, 0], torch.tensor(1.0))  # half the image: a quarter period
    assert not torch.allclose(code[2], code[3])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='clip_huge'), 'arch must be one of augreg_base'),
        (dict(arch=dict(depth=2)), 'needs exactly num_tokens, dims, depth, activation'),
        (dict(arch={**SMALL['arch'], 'activation': 'relu'}), 'activation must be one of gelu'),
        (dict(arch={**SMALL['arch'], 'dims': (60, 128)}), 'must be multiples of 64'),
        (dict(num_points=0), 'must be at least 1'),
        (dict(out_type='map'), 'out_type must be one of pooled, tokens'),
    ],
)
def test_refusals(options, message):
    with pytest.raises(BadInputError, match=message):
        BootstrappedSparseFormer(**{**SMALL, **options})


def test_it_is_registered():
    cfg = dict(type='BootstrappedSparseFormer', **SMALL)
    assert type(MODELS.build(cfg)) is BootstrappedSparseFormer
