"""The neck between latent tokens and dense heads."""

import pytest
import torch
from mmengine.registry import MODELS

from sparse_mm.errors import BadInputError
from sparse_mm.models.layers.roi_attention import RoIAttention, place_centres

NECK = dict(type='LatentToPyramid', in_channels=24, feature_channels=16, out_channels=32)


def build(**options):
    torch.manual_seed(0)
    neck = MODELS.build({**NECK, **options})
    neck.init_weights()
    return neck


def inputs(height=24, width=40, tokens=7):
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(2, tokens, 2, generator=generator) * 0.6
    size = 0.1 + torch.rand(2, tokens, 2, generator=generator) * 0.3
    return (
        torch.randn(2, tokens, 24, generator=generator),
        torch.cat([low, low + size], dim=-1),
        torch.randn(2, 16, height, width, generator=generator),
    )


def attend_pair_by_pair(ask, places, tokens, rois):
    """The definition in RoIAttention's docstring, with a value for each pair."""
    batch, height, width, _ = places.shape
    heads = ask.num_heads
    q = ask.query(places).flatten(1, 2).unflatten(-1, (heads, -1))  # (B, P, heads, d)
    k = ask.key(tokens).unflatten(-1, (heads, -1))
    v, vx, vy = ask.value(tokens).unflatten(-1, (heads, 3, -1)).unbind(-2)  # (B, N, heads, d)
    centre = (rois[..., :2] + rois[..., 2:]) / 2
    half = (rois[..., 2:] - rois[..., :2]) / 2
    at = place_centres(height, width)
    u = (at[None, :, None] - centre[:, None]) / half[:, None]  # (B, P, N, 2)
    sharpness = torch.nn.functional.softplus(ask.sharpness(tokens))
    logits = torch.einsum('bphd,bnhd->bphn', q, k) / q.shape[-1] ** 0.5
    logits = logits + ask.importance(tokens).transpose(1, 2).unsqueeze(1)
    logits = logits - (u**2).sum(-1).unsqueeze(2) * sharpness.transpose(1, 2).unsqueeze(1) / 2
    weights = torch.cat([logits, torch.zeros_like(logits[..., :1])], -1).softmax(-1)[..., :-1]
    answers = v[:, None] + u[..., None, :1] * vx[:, None] + u[..., None, 1:] * vy[:, None]
    answer = torch.einsum('bphn,bpnhd->bphd', weights, answers)
    return ask.proj(answer.flatten(2)).view(batch, height, width, -1)


def test_attention_is_what_it_says():
    torch.manual_seed(0)
    ask = RoIAttention(token_dim=24, place_dim=16, dim=32, num_heads=4)
    ask.init_weights()
    tokens, rois, features = inputs()
    places = features.permute(0, 2, 3, 1)
    expected = attend_pair_by_pair(ask, places, tokens, rois)
    torch.testing.assert_close(ask(places, tokens, rois), expected, atol=1e-4, rtol=1e-4)


def test_places_hear_the_tokens_that_cover_them_and_no_others():
    neck = build(strides=(8, 16))
    tokens, _, features = inputs(tokens=1)
    roi = torch.tensor([0.5, 0.5, 0.75, 1.0]).expand(2, 1, 4)
    other = neck((tokens + 1, roi, features))
    for one, two, (height, width) in zip(
        neck((tokens, roi, features)), other, [(12, 20), (6, 10)], strict=True
    ):
        changed = (one - two).abs().amax(dim=(0, 1))
        assert changed.shape == (height, width)
        inside = changed[height // 2 :, width // 2 : width * 3 // 4]
        far = changed[: height // 6]
        assert inside.min() > 0.01
        assert far.max() < 0.005 * inside.max()


@pytest.mark.parametrize(('height', 'width'), [(24, 40), (25, 33), (9, 8)])
@pytest.mark.parametrize('strides', [(4, 8, 16, 32), (8, 16, 32, 64, 128), (4, 8), (16, 32)])
def test_sizes(strides, height, width):
    neck = build(strides=strides)
    maps = neck(inputs(height, width))
    for stride, x in zip(strides, maps, strict=True):
        expected = -(-height * 4 // stride), -(-width * 4 // stride)
        assert x.shape == (2, 32, *expected), stride


def test_several_finer_levels_take_the_coarser_ones_outputs():
    neck = build(ask_stride=16)
    tokens, rois, features = inputs()
    maps = neck((tokens, rois, features))
    assert [x.shape[-2:] for x in maps] == [(24, 40), (12, 20), (6, 10), (3, 5)]
    changed = neck((tokens + 1, rois, features))
    assert all((one - two).abs().max() > 0.01 for one, two in zip(maps, changed, strict=True))


def test_everything_learns():
    neck = build()
    tokens, rois, features = (x.requires_grad_() for x in inputs())
    sum(x.square().sum() for x in neck((tokens, rois, features))).backward()
    for name, value in [*neck.named_parameters(), ('tokens', tokens), ('features', features)]:
        assert value.grad is not None and value.grad.abs().sum() > 0, name
    assert rois.grad.abs().sum() > 0


def test_tiny_and_empty_rois_stay_finite():
    neck = build()
    tokens, rois, features = inputs()
    rois[:, 0, 2:] = rois[:, 0, :2]
    rois[:, 1] = torch.tensor([-1e4, -1e4, 1e4, 1e4])
    assert all(x.isfinite().all() for x in neck((tokens, rois, features)))


def test_gradients_in_float64():
    ask = RoIAttention(token_dim=24, place_dim=16, dim=8, num_heads=2).double()
    ask.init_weights()
    tokens, rois, features = (x[:1].double() for x in inputs(3, 4, tokens=3))
    places = features.permute(0, 2, 3, 1)
    values = [x.clone().requires_grad_() for x in (places, tokens, rois)]
    assert ask(*values).dtype == torch.float64
    assert torch.autograd.gradcheck(ask, values, fast_mode=True)


def test_half_precision_places_tokens_as_single_does():
    neck = build()
    single = neck(inputs())
    with torch.autocast('cpu', torch.bfloat16):
        half = neck(inputs())
    for one, two in zip(single, half, strict=True):
        assert two.dtype == torch.bfloat16
        assert (one - two).norm() < 0.05 * one.norm()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(strides=(4, 16)), r'double from map to map, not \[4, 16\]'),
        (dict(strides=(2, 4, 8)), 'must start at 4'),
        (dict(strides=(4,)), 'no map would attend'),
        (dict(num_heads=5), '32 is not divisible by 5 heads'),
    ],
)
def test_refused(options, message):
    with pytest.raises(BadInputError, match=message):
        build(**options)
