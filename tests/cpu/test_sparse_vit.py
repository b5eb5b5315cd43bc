"""The executor gives what the plain path gives."""

import gc
from itertools import pairwise

import pytest
import torch
from torch import nn

from sparse_mm import cpu
from sparse_mm.cpu import parts
from sparse_mm.cpu import sparse_vit as executor
from sparse_mm.models import SparseViT
from sparse_mm.models.executors import marked_pass
from tests.models.backbones.reference import relative_error
from tests.models.backbones.test_sparse_vit import randomize

SMALL = dict(embed_dims=16, depths=(2, 3, 1), num_heads=(1, 2, 4), strides=(4, 2, 2))
RATIOS = [[0.6], [0, 0.4], [0.3]]


def build(**settings):
    return randomize(SparseViT(**{**SMALL, 'out_indices': (0, 2), **settings})).eval()


def both_ways(model, images):
    with torch.no_grad():
        assert cpu.takes(model, images)
        found = model(images)
        with cpu.disabled():
            assert not cpu.takes(model, images)
            return found, model(images)


@pytest.fixture(params=[None, 2000], ids=['whole', 'parts'])
def part_bytes(request, monkeypatch):
    """Chunks of the usual size, which hold these maps whole, and tiny ones."""
    if request.param:
        monkeypatch.setattr(parts, 'CHEAP_BYTES', request.param)
        monkeypatch.setattr(executor, 'BLOCK_BYTES', 50 * request.param)
        monkeypatch.setattr(executor, 'MERGING_BYTES', 2 * request.param)


@pytest.mark.parametrize('window_size', [7, 12])
@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('size', [(56, 84), (50, 70)])
@pytest.mark.parametrize('ratios', [None, RATIOS, 0.8])
def test_equals_the_plain_path(part_bytes, ratios, size, batch, window_size):
    model = build(pruning_ratios=ratios, window_size=window_size)
    for found, expected in zip(*both_ways(model, torch.randn(batch, 3, *size)), strict=True):
        assert found.shape == expected.shape
        assert found.is_contiguous()
        assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize(
    'settings',
    [
        dict(pad_before_norm=True),
        dict(act_cfg=dict(type='ReLU')),
        dict(patch_norm=False, qkv_bias=False, qk_scale=0.3),
        dict(use_abs_pos_embed=True, pretrain_img_size=64),
        dict(in_channels=5, out_indices=(1,)),
        dict(patch_size=2, strides=(2, 3, 2)),
        dict(with_cp=True, drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.5),
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_setting_equals_the_plain_path(part_bytes, settings):
    model = build(pruning_ratios=RATIOS, **settings)
    images = torch.randn(2, settings.get('in_channels', 3), 50, 70)
    for found, expected in zip(*both_ways(model, images), strict=True):
        assert relative_error(found, expected) < 1e-5


def test_bfloat16_is_as_close_to_the_truth_as_the_plain_path():
    model = build(pruning_ratios=[0, 0, 0])
    images = torch.randn(2, 3, 56, 84)
    with torch.no_grad():
        truth = model(images)
    found, plain = both_ways(model.bfloat16(), images.bfloat16())
    for own, other, true in zip(found, plain, truth, strict=True):
        assert own.dtype == torch.bfloat16
        assert relative_error(own.float(), true) < 1.5 * relative_error(other.float(), true)


def exchange(name, layer):
    def change(model):
        parent, _, last = name.rpartition('.')
        setattr(model.get_submodule(parent), last, layer)

    return change


FIRST = 'stages.0.blocks.0'
SURGERY = {
    'a projection in a sequence': exchange(
        f'{FIRST}.attn.w_msa.proj', nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 16))
    ),
    'no projection': exchange(f'{FIRST}.attn.w_msa.proj', nn.Identity()),
    'no second layer': exchange(
        f'{FIRST}.ffn.layers', nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Dropout(0.1))
    ),
    'one layer more': lambda model: model.get_submodule(f'{FIRST}.ffn.layers').append(
        nn.Linear(16, 16)
    ),
    'another activation': exchange(f'{FIRST}.ffn.layers.0.1', nn.GELU('tanh')),
    'an activation in a sequence': exchange(
        f'{FIRST}.ffn.layers.0.1', nn.Sequential(nn.ReLU(), nn.GELU())
    ),
    'no normalisation': exchange(f'{FIRST}.norm1', nn.Identity()),
    'no normalisation in merging': exchange('stages.0.downsample.norm', nn.Identity()),
    'one without a shift': exchange('stages.0.downsample.norm', nn.LayerNorm(64, bias=False)),
    'one without parameters': exchange(
        'stages.0.downsample.norm', nn.LayerNorm(64, elementwise_affine=False)
    ),
    'merging with a bias': exchange('stages.0.downsample.reduction', nn.Linear(64, 32)),
    'patches that overlap': exchange(
        'patch_embed.projection', nn.Conv2d(3, 16, 7, stride=4, padding=3)
    ),
    'no output norm': exchange('norm0', nn.Identity()),
}


@pytest.mark.parametrize('surgery', SURGERY)
def test_models_under_surgery_give_what_the_plain_path_gives(surgery):
    model, images = build(pruning_ratios=RATIOS), torch.randn(1, 3, 56, 84)
    SURGERY[surgery](model)
    model.eval()
    with torch.no_grad():
        found = model(images)
        with cpu.disabled():
            expected = model(images)
    for one, two in zip(found, expected, strict=True):
        assert relative_error(one, two) < 1e-5


def test_images_and_earlier_outputs_are_not_changed():
    model = build(pruning_ratios=RATIOS)
    images = torch.randn(2, 3, 56, 56)  # no padding: a stage may work in its input's memory
    original = images.clone()
    with torch.no_grad():
        outs = model(images)
        before = [out.clone() for out in outs]
        model(torch.randn(2, 3, 56, 56))
        again = model(images)
    assert torch.equal(images, original)
    assert all(map(torch.equal, outs, before))
    assert all(map(torch.equal, again, before))


def test_nothing_is_kept_of_the_weights():
    """Changed weights are used in the next pass, however they were changed."""
    model, images = build(pruning_ratios=RATIOS), torch.randn(1, 3, 56, 56)
    other = {name: torch.randn_like(p) / 9 for name, p in model.named_parameters()}
    ways = [
        lambda: model.load_state_dict(other, strict=False),
        lambda: [p.data.copy_(other[n] / 2) for n, p in model.named_parameters()],
        lambda: [p.mul_(1.5) for p in model.parameters()],
        lambda: [setattr(p, 'data', p.data + 0.01) for p in model.parameters()],
    ]
    with torch.no_grad():
        for write in ways:
            write()
            for found, expected in zip(*both_ways(model, images), strict=True):
                assert relative_error(found, expected) < 1e-5
        model.set_pruning_ratios(0.2)
        for found, expected in zip(*both_ways(model, images), strict=True):
            assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize('through_the_door', [True, False])
def test_marks_are_the_same_parts_both_ways(through_the_door):
    """So a latency table times the code that computes the passes."""
    model, images = build(pruning_ratios=RATIOS), torch.randn(1, 3, 50, 70)
    seen = []
    with torch.no_grad():
        if through_the_door:
            marked_pass(model, images, seen.append)
        else:
            with cpu.disabled():
                marked_pass(model, images, seen.append)
    blocks = [('block', i, j) for i, depth in enumerate(model.depths) for j in range(depth)]
    assert [part for part in seen if part[0] == 'block'] == blocks
    assert set(seen) - set(blocks) == {('stem',), *(('stage', i) for i in range(3))}
    assert seen[0] == ('stem',)
    for before, part in pairwise(seen):
        assert part[0] != 'block' or before == ('stage', part[1])
    assert not any(module._forward_hooks for module in model.modules())


def test_a_missing_product_is_no_loss(monkeypatch):
    from sparse_mm.cpu import linear

    monkeypatch.setattr(linear, 'onednn_product', lambda dtype: None)
    for found, expected in zip(*both_ways(build(), torch.randn(1, 3, 56, 56)), strict=True):
        assert relative_error(found, expected) < 1e-5


def test_the_product_agrees_with_linear_layers():
    """Compared with float64; the tolerance grows with the length of the sums."""
    from sparse_mm.cpu.linear import OneDNNLinear, linear

    for rows, inputs, outputs in [(1, 3, 5), (49, 96, 384), (300, 1024, 64)]:
        x, weight, bias = (
            torch.randn(rows, inputs),
            torch.randn(outputs, inputs),
            torch.randn(outputs),
        )
        exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
        bound = inputs * torch.finfo(torch.float32).eps * (x.abs() @ weight.abs().T + bias.abs())
        with torch.no_grad():
            assert ((linear(x, weight, bias) - exact).abs() <= bound).all()
            gelu = torch.nn.functional.gelu(exact)
            assert ((linear(x, weight, bias, gelu=True) - gelu).abs() <= 2 * bound + 1e-6).all()
            with OneDNNLinear():
                found = torch.nn.functional.linear(x, weight, bias)
            assert torch.equal(found, linear(x, weight, bias))
    assert linear(torch.randn(0, 4), torch.randn(3, 4)).shape == (0, 3)


def test_a_map_is_freed_once_the_next_one_is_there():
    model, images = build(out_indices=(2,)), torch.randn(2, 3, 224, 112)
    maps = [4 * 2 * (56 >> i) * (28 >> i) * (16 << i) for i in range(3)]  # bytes
    held = {}
    # Other tests of the process may have left some; none is freed, so ids are not used again.
    before = {id(x): x for x in gc.get_objects() if type(x) is torch.Tensor}

    def mark(part):
        if part[0] == 'block' and part[2] == 0:
            found = [x for x in gc.get_objects() if type(x) is torch.Tensor]
            tensors = [x for x in found if id(x) not in before]
            held[part[1]] = {x.untyped_storage().nbytes() for x in tensors} & set(maps)

    with torch.inference_mode():
        assert cpu.takes(model, images)
        marked_pass(model, images, mark)
    assert held == {i: {maps[i]} for i in range(3)}
