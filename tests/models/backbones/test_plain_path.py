"""SparseViT consists of ordinary modules: hooks, wrappers, tracers and checkpointing work."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import turn_on_activation_checkpointing
from torch import nn
from torch.nn.utils import parameters_to_vector, parametrize, prune

from sparse_mm import cpu
from sparse_mm.models import SparseViT
from tests.models.backbones.reference import relative_error
from tests.models.backbones.test_sparse_vit import randomize

SMALL = dict(embed_dims=16, depths=(2, 2), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1))


def build(**settings):
    return randomize(SparseViT(**{**SMALL, 'pruning_ratios': 0.5, **settings})).eval()


def plain(model, images):
    with torch.no_grad(), cpu.disabled():
        return model(images)


def assert_same(found, expected, tolerance=1e-5):
    for one, two in zip(found, expected, strict=True):
        assert relative_error(one, two) < tolerance


@pytest.mark.parametrize('size', [(56, 56), (50, 70)])
@pytest.mark.parametrize('grad', [True, False])
def test_what_hooks_see_stays_as_it_was(size, grad):
    """Hooks on every module; tensors that they see are not changed later in the pass."""
    model, seen = build(), []
    for module in model.modules():
        module.register_forward_hook(
            lambda module, args, out: seen.extend(
                (t, t.detach().clone()) for t in (*args, out) if isinstance(t, torch.Tensor)
            )
        )
    with torch.set_grad_enabled(grad):
        model(torch.randn(2, 3, *size))
    assert len(seen) > 50
    assert all(torch.equal(tensor, copied) for tensor, copied in seen)


def test_hooks_of_all_layers_fire_in_inference():
    model, fired = build(), set()
    leaves = {n for n, m in model.named_modules() if not any(m.children())}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: fired.add(name))
    with torch.no_grad():
        model(torch.randn(1, 3, 50, 70))
    assert leaves <= fired


class LoRA(nn.Module):
    """A linear layer with a low-rank addition, in its place."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.down = nn.Linear(inner.in_features, 2, bias=False)
        self.up = nn.Linear(2, inner.out_features, bias=False)

    def forward(self, x):
        return self.inner(x) + self.up(self.down(x))


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


@pytest.mark.parametrize('wrapper', ['lora', 'parametrisation', 'hook', 'pruned'])
@pytest.mark.parametrize('kind', ['qkv', 'proj', '0.0', 'layers.1', 'reduction'])
def test_a_changed_layer_counts_in_training_and_evaluation_alike(kind, wrapper):
    model, images = build(drop_path_rate=0.0), torch.randn(1, 3, 50, 70)
    before = plain(model, images)
    for name, module in list(model.named_modules()):
        if not name.endswith(kind) or type(module) is not nn.Linear:
            continue
        if wrapper == 'lora':
            parent, _, last = name.rpartition('.')
            setattr(model.get_submodule(parent), last, LoRA(module))
        elif wrapper == 'parametrisation':
            parametrize.register_parametrization(module, 'weight', Doubled())
        elif wrapper == 'pruned':
            prune.l1_unstructured(module, 'weight', amount=0.5)
        else:
            module.register_forward_hook(lambda module, args, out: 2 * out)
    trained = [out.detach() for out in model.train()(images)]
    with torch.no_grad():
        found = model.eval()(images)
    assert_same(found, trained)
    assert relative_error(found[1], before[1]) > 1e-3


def test_another_normalisation_is_called():
    """Any norm of norm_cfg, in the blocks and in patch merging."""
    model = build(norm_cfg=dict(type='LN', eps=1e-2))
    model.stages[0].downsample.norm = nn.RMSNorm(64)
    with torch.no_grad():
        assert all(out.isfinite().all() for out in model(torch.randn(1, 3, 50, 70)))


def gradients(model, images):
    model.zero_grad()
    sum(out.square().mean() for out in model(images)).backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    'modules',
    [
        *('stages.0', 'stages.1', 'stages.0 stages.1', 'patch_embed', 'norm1', 'stages.0.blocks.0'),
        *('stages.1.blocks.1', 'stages.0.blocks.1.ffn', 'stages.0.downsample'),
        'stages.0.blocks.1.attn.w_msa',
    ],
)
@pytest.mark.parametrize('size', [(56, 56), (50, 70)])
def test_activation_checkpointing_changes_no_gradient(modules, size):
    model, images = build(drop_path_rate=0.0).double().train(), torch.randn(2, 3, *size).double()
    images.requires_grad_()  # MMEngine's wrapper is reentrant and needs an input with a gradient
    expected = gradients(model, images)
    other = copy.deepcopy(model)
    turn_on_activation_checkpointing(other, modules.split())
    found = gradients(other, images)
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize('with_cp', [False, True])
def test_an_activation_that_works_in_place_has_gradients(with_cp):
    settings = dict(act_cfg=dict(type='ReLU', inplace=True), drop_path_rate=0.0)
    images = torch.randn(1, 3, 56, 56).double()
    model = build(**settings, with_cp=with_cp).double().train()
    other = build(act_cfg=dict(type='ReLU'), drop_path_rate=0.0).double().train()
    other.load_state_dict(model.state_dict())
    expected = gradients(other, images)
    for name, value in gradients(model, images).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize('absolute', [False, True])
def test_traces_with_and_without_gradients(absolute):
    model = build(use_abs_pos_embed=absolute, pretrain_img_size=32)
    images = torch.randn(1, 3, 64, 72)
    expected = plain(model, images)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            traced = torch.jit.trace(model, images)
        assert_same(traced(images), expected)
        assert 'nonzero' not in str(traced.inlined_graph)


def test_compiles_for_several_sizes():
    model = build()
    compiled = torch.compile(model, backend='eager')
    with torch.no_grad():
        for size in ((56, 56), (64, 72), (90, 50), (72, 64)):
            images = torch.randn(2, 3, *size)
            assert_same(compiled(images), model(images))


def test_exports_with_dynamic_sizes_of_the_batch():
    model, images = build(), torch.randn(2, 3, 50, 70)
    with torch.no_grad():
        program = torch.export.export(
            model, (images,), dynamic_shapes=({0: torch.export.Dim('batch', min=1, max=8)},)
        )
        for batch in (1, 3):
            images = torch.randn(batch, 3, 50, 70)
            assert_same(program.module()(images), model(images))


@pytest.mark.filterwarnings('ignore')
def test_dynamic_quantisation_finds_every_linear_layer():
    model, images = build(), torch.randn(1, 3, 50, 70)
    expected = plain(model, images)
    count = sum(type(module) is nn.Linear for module in model.modules())
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    found = sum(type(m) is torch.ao.nn.quantized.dynamic.Linear for m in quantised.modules())
    assert found == count == 4 * 4 + 1
    assert_same(plain(quantised, images), expected, tolerance=0.2)


def test_evaluation_leaves_the_weights_as_they_are():
    model = SparseViT(
        embed_dims=96, depths=(1, 1), num_heads=(3, 6), strides=(4, 2), out_indices=(1,)
    )
    strides = {name: value.stride() for name, value in model.state_dict().items()}
    for mode in (False, True):
        model.train(mode)
        with torch.no_grad():
            model(torch.randn(1, 3, 50, 70))
        assert {n: v.stride() for n, v in model.state_dict().items()} == strides
    assert all(value.is_contiguous() for value in model.state_dict().values())
    parameters_to_vector(model.parameters())


@pytest.mark.parametrize(
    'way',
    [
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: ExponentialMovingAverage(model).eval(),
        lambda model: nn.Sequential(model),
    ],
    ids=['deepcopy', 'pickle', 'EMA', 'wrapper'],
)
def test_copies_give_the_same(way):
    model, images = build(), torch.randn(1, 3, 50, 70)
    expected = plain(model, images)
    with torch.no_grad():
        assert_same(way(model)(images), expected)


def test_merging_is_that_of_mmdet():
    swin = SwinTransformer(**SMALL).stages[0].downsample
    ours = build().stages[0].downsample
    ours.load_state_dict(swin.state_dict())
    for hw_shape in ((8, 8), (7, 9)):
        x = torch.randn(2, hw_shape[0] * hw_shape[1], 16)
        (found, size), (expected, expected_size) = ours(x, hw_shape), swin(x, hw_shape)
        assert tuple(size) == tuple(expected_size)
        assert relative_error(found, expected) < 1e-6


def test_blocks_hand_on_new_maps():
    model, maps = build(pruning_ratios=None), []
    for block in model.stages[0].blocks:
        block.register_forward_hook(lambda module, args, out: maps.extend((args[0], out)))
    with torch.no_grad():
        model(torch.randn(1, 3, 56, 56))
    pointers = [tensor.data_ptr() for tensor in maps]
    assert all(one != two for one, two in pairwise(pointers[::2]))
    assert pointers[0] != pointers[1]
