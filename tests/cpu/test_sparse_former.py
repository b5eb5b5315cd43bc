"""SparseFormers on a CPU: the executor gives the plain path's outputs if nothing observes it."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from sparse_mm import cpu
from sparse_mm.cpu.sparse_former import SparseFormersOnCPU
from sparse_mm.models import BootstrappedSparseFormer, SparseFormer

FORMER = dict(
    arch=dict(num_tokens=9, dims=(16, 32), depth=2, drop_path_rate=0.1), num_heads=4, num_points=6
)
BOOTSTRAPPED = dict(
    arch=dict(num_tokens=9, dims=(64, 64), depth=2, activation='quick_gelu'), channels=8
)


def build(cls=SparseFormer, **options):
    model = cls(**(FORMER if cls is SparseFormer else BOOTSTRAPPED), **options)
    model.init_weights()
    return model.eval()


@pytest.fixture
def passes(monkeypatch):
    """The passes that the executor computed."""
    taken = []
    run = SparseFormersOnCPU.run

    def count(self, model, *arguments):
        taken.append(model)
        return run(self, model, *arguments)

    monkeypatch.setattr(SparseFormersOnCPU, 'run', count)
    return taken


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(image_features='resnet_c2', decoding='static'),
        dict(image_features='vit_embed', decoding='linear'),
        dict(image_features='rgb'),
        dict(cls=BootstrappedSparseFormer),
    ],
    ids=str,
)
@pytest.mark.parametrize('size', [(2, 3, 40, 56), (32, 3, 16, 16)])  # few tokens and many
@torch.no_grad()
def test_it_computes_what_the_plain_path_does(passes, options, size):
    model = build(out_type='tokens', **options)
    images = torch.randn(size)
    found = model(images)
    assert len(passes) == 1
    with cpu.disabled():
        expected = model(images)
    assert len(passes) == 1
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_bfloat16(passes):
    model, images = build().bfloat16(), torch.randn(2, 3, 40, 56).bfloat16()
    (found,) = model(images)
    with cpu.disabled():
        (expected,) = model(images)
    assert len(passes) == 1
    assert (found - expected).norm() < 0.02 * expected.norm()


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


WATCHED = dict(
    training=lambda model: model.train(),
    hook=lambda model: model.cortex[1].ffn.register_forward_hook(lambda *_: None),
    parametrisation=lambda model: parametrize.register_parametrization(
        model.cortex[1].attn.qkv, 'weight', Doubled()
    ),
    replaced=lambda model: setattr(model.cortex[0], 'forward', model.cortex[0].forward),
    precision=lambda model: model.double(),
)


@pytest.mark.parametrize('name', WATCHED)
@torch.no_grad()
def test_what_is_changed_takes_the_plain_path(passes, name):
    model = build()
    WATCHED[name](model)
    model(torch.randn(2, 3, 16, 16, dtype=model.token_embedding.dtype))
    assert not passes


def test_gradients_and_autocast_take_the_plain_path(passes):
    model, images = build(), torch.randn(2, 3, 16, 16)
    model(images)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        model(images)
    assert not passes
