"""A VideoSparseFormer computes the same however it is run; gradients in time are clamped."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._ops import OpOverload

from sparse_mm.models import VideoSparseFormer
from sparse_mm.models.layers.rois import hold_ends, sample_features

SETTINGS = dict(
    arch=dict(num_tokens=3, dims=(16, 32), depth=2, drop_path_rate=0.0),
    replicates=2,
    focusing_repeats=2,
    num_heads=4,
    num_points=6,
    feature_channels=8,
    out_type='tokens',
)


def build(**settings):
    """A backbone whose sampling points move: no layer starts at zero."""
    model = VideoSparseFormer(**{**SETTINGS, **settings})
    torch.manual_seed(1)
    model.init_weights()
    for name, parameter in model.named_parameters():
        if 'adjust' in name or 'offset.' in name or 'generate' in name:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def smooth(*size, dtype=torch.float32):
    torch.manual_seed(2)
    clips = F.interpolate(torch.randn(2, 3, 3, 4, 4), size or (5, 24, 32), mode='trilinear')
    return clips.to(dtype)


def gradients(model, clips, scale=1.0):
    model.zero_grad()
    (sum(out.square().sum() for out in model(clips)) * scale).backward()
    return [parameter.grad.clone() / scale for parameter in model.parameters()]


def check_close(found, expected, tolerance=1e-4):
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


# Sampling


def test_sampling_reads_the_pixels_of_frames():
    features = torch.randn(2, 5, 3, 6, 8)
    t, y, x = torch.tensor([0, 2, 1]), torch.tensor([0, 3, 5]), torch.tensor([7, 2, 0])
    points = torch.stack([(x + 0.5) / 8, (y + 0.5) / 6, (t + 0.5) / 3], -1).expand(2, 1, 3, 3)
    found = sample_features(features, points)
    torch.testing.assert_close(found[:, 0], features[:, :, t, y, x].transpose(1, 2))
    between = sample_features(features, torch.tensor([0.5 / 8, 0.5 / 6, 1 / 3]).expand(2, 1, 1, 3))
    torch.testing.assert_close(between[:, 0, 0], features[:, :, :2, 0, 0].mean(2))
    for place in ([3.0, 0.5, 0.5], [0.5, 0.5, -1.0]):
        assert sample_features(features, torch.tensor(place).expand(2, 1, 1, 3)).abs().max() == 0


@pytest.mark.parametrize('scale', [None, 1024.0])
def test_the_clamp_is_a_pixel_in_space_and_a_frame_in_time(scale):
    features = 1e4 * torch.randn(1, 4, 5, 16, 8)
    points = torch.rand(1, 2, 9, 3).requires_grad_()
    told = None if scale is None else torch.tensor(scale)
    sample_features(features, points, loss_scale=told).square().sum().backward()
    bounds = points.grad.abs().amax((0, 1, 2)) / (scale or 1)
    torch.testing.assert_close(bounds, torch.tensor([1 / 16, 1 / 16, 1 / 5]))


@pytest.mark.parametrize('frames', [1, 2, 5])
def test_zeros_begin_at_the_ends_of_the_clip(frames):
    features = torch.randn(1, 2, frames, 4, 4)
    times = torch.linspace(0, 0.5 / frames, 9)

    def read(times):
        places = torch.full((*times.shape, 3), 0.375)
        places[..., 2] = times
        return sample_features(features, hold_ends(places[None, None], frames))[0, 0]

    for edge, place in ((times, 0), (1 - times, -1)):
        torch.testing.assert_close(read(edge), features[0, :, place, 1, 1].expand(9, 2))
    middle = torch.linspace(0.5 / frames, 1 - 0.5 / frames, 9)
    plain = torch.full((9, 3), 0.375)
    plain[:, 2] = middle
    torch.testing.assert_close(read(middle), sample_features(features, plain[None, None])[0, 0])
    far = torch.tensor([-1 / frames, 1 + 1 / frames, -5.0])
    assert read(far).abs().max() < 1e-5


# Precision, gradients


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_precision(dtype):
    model = build()
    expected = model(smooth())
    found = model.to(dtype)(smooth(dtype=dtype))
    double = dtype == torch.float64
    assert [out.dtype for out in found] == [dtype, dtype if double else torch.float32, dtype]
    for one, two in zip(found, expected, strict=True):
        assert (one.double() - two).norm() < (1e-5 if double else 0.05) * two.norm()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast(dtype):
    """Coordinates stay in float32; gradients reach every weight."""
    model, clips = build().train(), smooth()
    expected = [out.detach() for out in model(clips)]
    with torch.autocast('cpu', dtype):
        found = model(clips)
    assert found[1].dtype == torch.float32
    for one, two in zip(found, expected, strict=True):
        assert (one.float() - two).norm() < 0.05 * two.norm()
    sum(out.float().square().sum() for out in found).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_gradients_in_float64():
    model = build(out_type='pooled').double().requires_grad_(False)
    clips = smooth(3, 12, 16, dtype=torch.float64)[:1]
    names = ['token_embedding', 'token_rois', 'focusing.sampler.offset_bias']
    names += ['cortex.0.mixing.point_bias', 'cortex.0.sampler.adjust.weight']
    values = [model.get_parameter(name).clone().requires_grad_() for name in names]

    def run(*values):
        weights = dict(zip(names, values, strict=True))
        # Small, so that the coordinates' gradients are not clamped.
        return torch.func.functional_call(model, weights, clips)[0] / 1000

    assert torch.autograd.gradcheck(run, values, atol=1e-8, fast_mode=True)


@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients_with_a_loss_scale(with_cp):
    model, clips = build(with_cp=with_cp).train(), smooth() * 10
    plain = gradients(model, clips)
    untold = gradients(model, clips, 65536.0)
    model.loss_scale = torch.tensor(65536.0)
    check_close(gradients(model, clips, 65536.0), plain, 1e-5)
    assert any((one - two).abs().max() > 0.01 for one, two in zip(untold, plain, strict=True))


def test_checkpointing_changes_nothing():
    clips = smooth()
    saving = build(with_cp=True).train()
    check_close(gradients(saving, clips), gradients(build().train(), clips))


# Captured


def test_compiled_at_several_lengths_and_sizes():
    arch = dict(num_tokens=3, dims=(16, 32), depth=1, drop_path_rate=0.0)
    model = build(arch=arch, focusing_repeats=1)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    for size in ((5, 24, 32), (3, 16, 24)):
        clips = smooth(*size)
        check_close(gradients(compiled, clips), gradients(model, clips), 1e-3)
        with torch.no_grad():
            check_close(compiled(clips), model(clips))


@pytest.mark.parametrize('with_gradients', [False, True])
def test_exported_and_traced(with_gradients):
    model, clips = build(), smooth()
    with torch.set_grad_enabled(with_gradients):
        exported = torch.export.export(model, (clips,))
        check_close(exported.module()(clips), model(clips))
        free = torch.export.export(
            model, (clips,), dynamic_shapes=({0: torch.export.Dim('batch')},)
        )
        more = torch.cat([clips, clips.flip(2)])
        check_close(free.module()(more), model(more))
        traced = torch.jit.trace(model, clips)
        check_close(traced(clips), model(clips))
    if not with_gradients:  # the clamp of gradients is not exported
        operators = {n.target for n in exported.graph.nodes if isinstance(n.target, OpOverload)}
        assert {operator.namespace for operator in operators} == {'aten'}


@torch.no_grad()
def test_copies():
    model = build()
    twin = copy.deepcopy(model)
    assert torch.equal(twin(smooth())[0], model(smooth())[0])
