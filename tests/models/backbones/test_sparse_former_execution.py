"""A SparseFormer computes the same in any precision, compiled, exported, stored or wrapped."""

import copy
import io
import pickle

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch import nn

from sparse_mm.models import BootstrappedSparseFormer, LatentToPyramid, SparseFormer

FORMER = dict(
    arch=dict(num_tokens=5, dims=(16, 32), depth=2, drop_path_rate=0.0),
    focusing_repeats=2,
    num_heads=4,
    num_points=6,
    feature_channels=8,
)
BOOTSTRAPPED = dict(
    arch=dict(num_tokens=5, dims=(64, 64), depth=2, activation='quick_gelu'),
    num_points=4,
    channels=8,
    focusing_repeats=2,
)


def build(options, **more):
    """A backbone whose sampling points move: no layer starts at zero."""
    cls = SparseFormer if options is FORMER else BootstrappedSparseFormer
    model = cls(**options, **more)
    torch.manual_seed(1)
    model.init_weights()
    for name, parameter in model.named_parameters():
        if 'adjust' in name or 'offset.' in name or 'generate' in name:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def smooth(height=40, width=56, dtype=torch.float32):
    torch.manual_seed(2)
    cells = torch.randn(2, 3, 4, 4)
    images = nn.functional.interpolate(cells, (height, width), mode='bicubic')
    return images.to(dtype)


both = pytest.mark.parametrize('options', [FORMER, BOOTSTRAPPED], ids=['former', 'bootstrapped'])


def gradients(model, images, scale=1.0):
    model.zero_grad()
    (sum(out.square().sum() for out in model(images)) * scale).backward()
    return [parameter.grad.clone() / scale for parameter in model.parameters()]


def check_close(found, expected, tolerance=1e-4):
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


# Precision


SETTINGS = [
    *(dict(decoding=name) for name in ('adaptive', 'static', 'linear')),
    *(dict(image_features=name) for name in ('vit_embed', 'resnet_c2')),
    dict(image_features='rgb', feature_channels=3),
    dict(focusing_repeats=0),
]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('settings', SETTINGS, ids=str)
@torch.no_grad()
def test_every_setting_in_every_precision(settings, dtype):
    options = {**FORMER, **settings}
    torch.manual_seed(0)
    model = SparseFormer(**options).eval()
    model.init_weights()
    channels = model.stem.channels
    norm = dict(type='BN') if channels % 8 else None
    neck = LatentToPyramid(32, channels, 16, (8, 16), model.stem.stride, norm_cfg=norm)
    neck.init_weights()
    neck.eval()
    (expected,) = model(smooth())
    model.to(dtype), neck.to(dtype)
    images = smooth(dtype=dtype)
    (pooled,) = model(images)
    assert pooled.dtype == dtype
    off = (pooled.double() - expected.double()).norm() / expected.norm()
    assert off < (1e-5 if dtype == torch.float64 else 0.05)
    model.out_type = 'tokens'
    tokens, rois, features = model(images)
    assert tokens.dtype == features.dtype == dtype
    assert rois.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for out in (tokens, rois, features, *(maps := neck((tokens, rois, features)))):
        assert out.isfinite().all()
    assert {out.dtype for out in maps} == {dtype}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_bootstrapped_in_every_precision(dtype):
    model = build(BOOTSTRAPPED, out_type='tokens')
    expected = model(smooth())
    found = model.to(dtype)(smooth(dtype=dtype))
    double = dtype == torch.float64
    assert [out.dtype for out in found] == [dtype, dtype if double else torch.float32, dtype]
    for one, two in zip(found, expected, strict=True):
        assert (one.double() - two).norm() < (1e-5 if double else 0.05) * two.norm()


@both
def test_half_precision_learns(options):
    model = build(options, out_type='tokens').bfloat16()
    found = gradients(model, smooth(dtype=torch.bfloat16))
    assert all(gradient.isfinite().all() for gradient in found)


@both
def test_gradients_in_float64(options):
    model = build(options).double().requires_grad_(False)
    images = smooth(12, 16, torch.float64)[:1]
    if options is FORMER:
        names = ['token_embedding', 'token_rois', 'focusing.sampler.offset_bias']
        names += ['cortex.0.mixing.point_bias', 'cortex.0.sampler.adjust.weight']
    else:  # the RoIs have no gradient here, so only what follows the last one
        names = ['cls_token', 'look.sampler.offset_bias', 'look.mixing.generate.bias']
    values = [model.get_parameter(name).clone().requires_grad_() for name in names]

    def run(*values):
        weights = dict(zip(names, values, strict=True))
        # Small, so that the coordinates' gradients are not clamped.
        return torch.func.functional_call(model, weights, images)[0] / 1000

    assert torch.autograd.gradcheck(run, values, atol=1e-8, fast_mode=True)


# The loss scale


@pytest.mark.parametrize('scale', [1024.0, 65536.0])
@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients_with_a_loss_scale(scale, with_cp):
    model = build(FORMER, out_type='tokens', with_cp=with_cp).train()
    images = smooth() * 10
    plain = gradients(model, images)
    scaler = torch.amp.GradScaler('cpu', init_scale=scale)
    untold = gradients(model, images, scale)
    model.loss_scale = scaler.scale(torch.ones(()))
    told = gradients(model, images, scale)
    check_close(told, plain, 1e-5)
    assert any((one - two).abs().max() > 0.01 for one, two in zip(untold, plain, strict=True))


def test_a_missing_loss_scale_is_warned_of_once(monkeypatch):
    said = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'warning', said.append)
    model = build(FORMER)

    def run(dtype=torch.float16):
        with torch.autocast('cpu', dtype):
            model(smooth())

    run()
    model.train()
    run(torch.bfloat16)
    model(smooth())
    with torch.no_grad():
        run()
    model.loss_scale = torch.ones(())
    run()
    assert not said
    model.loss_scale = None
    run()
    run()
    assert len(said) == 1
    assert "dict(type='LossScaleHook')" in said[0]


def test_a_changing_scale_compiles_once():
    model = build(FORMER).train()
    images = smooth() * 10
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend=count)
    for scale in (2.0, 4.0, 8.0):
        model.loss_scale = torch.tensor(scale)
        check_close(gradients(compiled, images, scale), gradients(model, images, scale))
    assert len(graphs) == 1


# Captured


@both
def test_compiled_at_two_sizes(options):
    model = build(options, out_type='tokens')
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    for size in ((40, 56), (48, 32), (32, 64)):
        images = smooth(*size)
        with torch.no_grad():
            check_close(compiled(images), model(images))
        check_close(gradients(compiled, images), gradients(model, images), 1e-3)


@both
@pytest.mark.parametrize('with_gradients', [False, True])
def test_traced(options, with_gradients):
    model = build(options, out_type='tokens')
    with torch.set_grad_enabled(with_gradients):
        traced = torch.jit.trace(model, smooth())
        torch.jit.save(traced, stored := io.BytesIO())
        stored.seek(0)
        for size in ((40, 56), (48, 32)):
            images = smooth(*size)
            check_close(torch.jit.load(stored)(images), model(images))
            stored.seek(0)


@both
@pytest.mark.parametrize('with_gradients', [False, True])
def test_exported(options, with_gradients):
    model = build(options, out_type='tokens')
    with torch.set_grad_enabled(with_gradients):
        exported = torch.export.export(model, (smooth(),))
        check_close(exported.module()(smooth()), model(smooth()))


# Stored and wrapped


@both
@torch.no_grad()
def test_copies(options):
    model = build(options)
    model.loss_scale = torch.tensor(8.0)
    assert not any('loss_scale' in name for name in model.state_dict())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(smooth())[0], model(smooth())[0])
        assert twin.loss_scale == 8


@both
@torch.no_grad()
def test_quantized(options):
    model = build(options)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    kind = torch.ao.nn.quantized.dynamic.Linear
    assert sum(isinstance(module, kind) for module in quantized.modules()) == len(layers)
    (found,), (expected,) = quantized(smooth()), model(smooth())
    assert (found - expected).norm() < 0.1 * expected.norm()


class LowRank(nn.Module):
    """A linear layer with an addition of low rank, as LoRA wraps it: it has no weight itself."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(0.3 * torch.randn(2, layer.in_features))
        self.up = nn.Parameter(0.3 * torch.randn(layer.out_features, 2))

    def forward(self, x):
        return self.layer(x) + x @ self.down.T @ self.up.T


@both
def test_wrapped_linear_layers(options):
    model = build(options)
    wrapped = copy.deepcopy(model)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            wrapper = LowRank(copy.deepcopy(layer))
            wrapped.set_submodule(name, wrapper)
            layer.weight.data += wrapper.up.data @ wrapper.down.data
    (expected,) = model(smooth())
    for mode in (False, True):
        torch.testing.assert_close(wrapped.train(mode)(smooth())[0], expected, rtol=1e-3, atol=1e-3)
        with torch.no_grad():
            (found,) = wrapped(smooth())
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@both
@torch.no_grad()
def test_every_module_is_called(options):
    model = build(options)
    called = set()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    model(smooth())
    groups = nn.ModuleList
    assert called == {n for n, module in model.named_modules() if not isinstance(module, groups)}


@pytest.mark.parametrize(
    ('options', 'names'),
    [
        (FORMER, ['cortex.0']),
        (FORMER, ['focusing', 'transition', 'cortex.0', 'cortex.1']),
        (FORMER, ['focusing.attn', 'cortex.0.sampler', 'cortex.0.mixing', 'cortex.1.ffn']),
        (BOOTSTRAPPED, ['focusing', 'look', 'blocks.0', 'blocks.1']),
        (BOOTSTRAPPED, ['focusing.look', 'focusing.block', 'look.mixing', 'blocks.0.ffn']),
    ],
    ids=str,
)
def test_activation_checkpointing(options, names):
    model = build(options, out_type='tokens').train()
    images = smooth() * 10
    expected = gradients(model, images)
    turn_on_activation_checkpointing(model, names)
    check_close(gradients(model, images), expected)
