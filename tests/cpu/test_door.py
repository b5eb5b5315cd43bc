"""No executor computes a pass if hooks, gradients or other observers could see a difference."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from sparse_mm import cpu
from sparse_mm.models import SparseFormer, SparseViT

VIT = dict(embed_dims=8, depths=(2, 1), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1))
FORMER = dict(
    arch=dict(num_tokens=4, dims=(16, 32), depth=2, drop_path_rate=0.1), num_heads=4, num_points=4
)
BUILDERS = {
    'SparseViT': lambda: SparseViT(**VIT, pruning_ratios=0.5),
    'SparseFormer': lambda: SparseFormer(**FORMER),
    'SparseFormer static': lambda: SparseFormer(**FORMER, decoding='static'),
    'SparseFormer linear': lambda: SparseFormer(
        **FORMER, decoding='linear', image_features='resnet_c2', out_type='tokens'
    ),
}
IMAGES = torch.randn(1, 3, 56, 56)


@pytest.fixture(params=BUILDERS)
def model(request):
    return BUILDERS[request.param]().eval()


def first_linear(model):
    return next(module for module in model.modules() if type(module) is nn.Linear)


class Subclass(nn.Linear):
    pass


class WrappedTensor(torch.Tensor):
    pass


def wrap_linear(model):
    inner = first_linear(model)
    for parent in model.modules():
        for name, child in parent.named_children():
            if child is inner:
                setattr(parent, name, nn.Sequential(Subclass(1, 1), inner))
                return


def tensor_subclass(model):
    linear = first_linear(model)
    linear.weight = nn.Parameter(linear.weight.detach().as_subclass(WrappedTensor))


def checkpointing(model):
    from mmengine.runner import turn_on_activation_checkpointing

    turn_on_activation_checkpointing(model, [next(n for n, _ in model.named_children())])


ATTACHED = {
    'forward hook': lambda m: first_linear(m).register_forward_hook(lambda *_: None),
    'pre-hook': lambda m: first_linear(m).register_forward_pre_hook(lambda *_: None),
    'backward hook': lambda m: first_linear(m).register_full_backward_hook(lambda *_: None),
    'wrapped layer': wrap_linear,
    'subclass': lambda m: setattr(first_linear(m), '__class__', Subclass),
    'parametrisation': lambda m: parametrize.register_parametrization(
        first_linear(m), 'weight', nn.Identity()
    ),
    'pruned weights': lambda m: prune.l1_unstructured(first_linear(m), 'weight', amount=0.3),
    'forward replaced': lambda m: setattr(first_linear(m), 'forward', lambda x: x),
    'activation checkpointing': checkpointing,
    'tensor subclass': tensor_subclass,
    'half of the weights': lambda m: first_linear(m).half(),
    'one layer in bf16': lambda m: first_linear(m).bfloat16(),
    'one module trains': lambda m: first_linear(m).train(),
    'training': lambda m: m.train(),
    'float64': lambda m: m.double(),
}


@pytest.mark.parametrize('attach', ATTACHED)
@torch.no_grad()
def test_what_is_attached_closes_it(model, attach):
    assert cpu.takes(model, IMAGES)
    ATTACHED[attach](model)
    assert not cpu.takes(model, IMAGES)


class Nothing(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_what_watches_closes_it(model):
    assert not cpu.takes(model, IMAGES)  # gradients
    with torch.inference_mode():
        assert cpu.takes(model, IMAGES)
    with torch.no_grad():
        with torch.autocast('cpu', torch.bfloat16):
            assert not cpu.takes(model, IMAGES)
        with FlopCounterMode(display=False):
            assert not cpu.takes(model, IMAGES)
        with Nothing():
            assert not cpu.takes(model, IMAGES)
        with cpu.disabled():
            assert not cpu.takes(model, IMAGES)
        handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
        assert not cpu.takes(model, IMAGES)
        handle.remove()
        seen = []
        torch.func.vmap(lambda x: seen.append(cpu.takes(model, IMAGES)) or x)(torch.ones(2))
        assert seen == [False]
        assert not cpu.takes(model.to('meta'), IMAGES.to('meta'))


@torch.no_grad()
def test_images_must_be_plain(model):
    assert not cpu.takes(model, IMAGES.bfloat16())
    assert not cpu.takes(model, IMAGES.double())
    assert not cpu.takes(model, IMAGES.as_subclass(WrappedTensor))
    assert not cpu.takes(model, IMAGES[0])
    assert cpu.takes(model, IMAGES.contiguous(memory_format=torch.channels_last))
    assert cpu.takes(copy.deepcopy(model), IMAGES)


@torch.no_grad()
def test_bfloat16_throughout_is_taken():
    model = BUILDERS['SparseViT']().eval().bfloat16()
    assert cpu.takes(model, IMAGES.bfloat16())
    assert not cpu.takes(model, IMAGES)


@torch.no_grad()
def test_a_subclass_of_the_backbone_computes_itself():
    class Own(SparseViT):
        pass

    assert not cpu.takes(Own(**VIT).eval(), IMAGES)


@torch.no_grad()
def test_latent_tokens_come_out_the_same(model):
    found = model(IMAGES)
    with cpu.disabled():
        expected = model(IMAGES)
    for own, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(own, plain, rtol=1e-4, atol=1e-5)
