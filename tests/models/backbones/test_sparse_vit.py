import copy
import json

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmengine.registry import MODELS

from sparse_mm.models import SparseViT
from tests.models.backbones.reference import load_reference, relative_error

SMALL = dict(embed_dims=16, depths=(2, 2, 3, 1), num_heads=(1, 2, 4, 8), window_size=4)
SPARSE = [[0.6, 0.6], [0, 0], [0.2, 0.4, 0.5], [0]]
SWINS = {
    'tiny': dict(),
    'small': dict(depths=(2, 2, 18, 2)),
    'large': dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), window_size=12),
}


def randomize(module):
    for parameter in module.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
        else:
            torch.nn.init.normal_(parameter, mean=1, std=0.1)
    return module


def pair(**settings):
    """mmdet's Swin and ours with the same weights."""
    swin = randomize(SwinTransformer(**settings))
    ours = SparseViT(**settings)
    assert set(ours.state_dict()) == {*swin.state_dict(), 'saved_ratios'}
    ours.load_state_dict(swin.state_dict())
    assert swin.load_state_dict(ours.state_dict(), strict=False).unexpected_keys == ['saved_ratios']
    return swin, ours


@pytest.mark.parametrize(
    ('name', 'size'),
    [
        ('tiny', (224, 224)),
        ('tiny', (200, 333)),
        ('tiny', (31, 50)),
        ('small', (112, 140)),
        ('large', (96, 96)),
        ('large', (100, 230)),
    ],
)
def test_dense_equals_swin(name, size):
    swin, ours = pair(**SWINS[name])
    swin.eval(), ours.eval()
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        for found, expected in zip(ours(image), swin(image), strict=True):
            assert found.shape == expected.shape
            assert found.is_contiguous()
            assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize('settings', [dict(), dict(with_cp=True), dict(drop_path_rate=0.5)])
@pytest.mark.parametrize('size', [(64, 128), (70, 90)])
def test_dense_gradients_equal_swins(size, settings):
    # Also in training mode: stochastic depth draws the same numbers, per image.
    swin, ours = pair(**{**SMALL, **settings})
    image = torch.randn(2, 3, *size)
    gradients = []
    for model in swin, ours:
        model.train()
        torch.manual_seed(0)
        sum((out**2).mean() for out in model(image)).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, expected in gradients[0].items():
        found = gradients[1][name]
        assert (found - expected).norm() <= 1e-4 * expected.norm() + 1e-7, name


@pytest.mark.parametrize('use_abs_pos_embed', [False, True])
def test_other_options_equal_swins(use_abs_pos_embed):
    settings = dict(
        SMALL,
        use_abs_pos_embed=use_abs_pos_embed,
        pretrain_img_size=64,
        patch_norm=False,
        qkv_bias=False,
        qk_scale=0.3,
        mlp_ratio=2,
        out_indices=(1, 3),
        act_cfg=dict(type='ReLU'),
    )
    swin, ours = pair(**settings)
    swin.eval(), ours.eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for found, expected in zip(ours(image), swin(image), strict=True):
            assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize(
    ('strides', 'size'), [((4, 2, 1), (36, 52)), ((4, 4, 2), (70, 84)), ((4, 3, 2), (64, 100))]
)
def test_other_strides_equal_swins(strides, size):
    settings = dict(
        embed_dims=16,
        depths=(1, 1, 1),
        num_heads=(1, 2, 4),
        strides=strides,
        window_size=4,
        out_indices=(0, 1, 2),
    )
    swin, ours = pair(**settings)
    swin.eval(), ours.eval()
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        for found, expected in zip(ours(image), swin(image), strict=True):
            assert found.shape == expected.shape
            assert relative_error(found, expected) < 1e-5


def test_sparse_equals_the_authors(shared):
    meta, state, image, outputs = load_reference(shared('reference/sparsevit_a.npz'))
    model = SparseViT(**meta['cfg'], pruning_ratios=meta['ratios'], pad_before_norm=True).eval()
    result = model.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert all('relative_position_index' in name for name in result.missing_keys)
    with torch.no_grad():
        for i, found in enumerate(model(image)):
            assert relative_error(found, outputs[f'out{i}']) < 1e-4


def naive_block(block, x, hw, shift, window_size, chosen, pad_before_norm):
    """One block on the selected windows, written plainly: roll, pad, cut, loop over windows."""
    height, width = hw
    channels = x.shape[-1]
    down, across = -(-height // window_size), -(-width // window_size)
    padded = torch.full((down * window_size, across * window_size, channels), float('nan'))
    padded[:height, :width] = x.view(height, width, channels)
    padded = padded.roll((-shift, -shift), (0, 1))
    place = torch.arange(down * window_size)[:, None] * 1000 + torch.arange(across * window_size)
    place = place.roll((-shift, -shift), (0, 1))
    w_msa = block.attn['w_msa']
    for window in chosen.tolist():
        top, left = window // across * window_size, window % across * window_size
        area = slice(top, top + window_size), slice(left, left + window_size)
        tokens = padded[area].reshape(-1, channels).clone()
        where = place[area].flatten()
        is_padding = tokens[:, :1].isnan()
        tokens = tokens.masked_fill(is_padding, 0)
        normed = block.norm1(tokens)
        if not pad_before_norm:
            normed = normed.masked_fill(is_padding, 0)
        q, k, v = w_msa.qkv(normed).view(len(tokens), 3, w_msa.num_heads, -1).permute(1, 2, 0, 3)
        logits = q @ k.transpose(-2, -1) * w_msa.scale + w_msa.position_bias()
        rows, columns = where // 1000, where % 1000
        apart = (rows[:, None] - rows).abs().maximum((columns[:, None] - columns).abs())
        logits = logits + (apart >= window_size) * -100.0
        attended = (logits.softmax(-1) @ v).transpose(0, 1).reshape(len(tokens), channels)
        tokens = tokens + w_msa.proj(attended)
        tokens = tokens + block.ffn.layers(block.norm2(tokens))
        tokens = tokens.masked_fill(is_padding, float('nan'))
        padded[area] = tokens.view(window_size, window_size, channels)
    return padded.roll((shift, shift), (0, 1))[:height, :width].reshape(height * width, channels)


@pytest.mark.parametrize('pad_before_norm', [False, True])
@pytest.mark.parametrize('hw', [(8, 12), (9, 14)])
@torch.no_grad()
def test_a_sparse_stage_is_what_the_paper_says(hw, pad_before_norm):
    torch.manual_seed(0)
    model = randomize(SparseViT(**SMALL, pad_before_norm=pad_before_norm)).eval()
    stage = model.stages[2]  # 3 blocks; the first dense, so that the score is taken after it
    ratios = [[0, 0], [0, 0], [0, 0.4, 0.6], [0]]
    model.set_pruning_ratios(ratios)
    x = torch.randn(2, hw[0] * hw[1], 64)
    _, _, out, _ = stage(x, hw, model.ratios_in_force()[2])

    num_windows = -(-hw[0] // 4) * -(-hw[1] // 4)
    for image in range(2):
        y = x[image]
        ranking = {}
        for i, ratio in enumerate(ratios[2]):
            kept = num_windows - -(-num_windows * round(ratio * 10) // 10)
            if ratio and not ranking:
                magnitude = torch.zeros(-(-hw[0] // 4) * 4, -(-hw[1] // 4) * 4)
                magnitude[: hw[0], : hw[1]] = y.abs().mean(-1).view(hw)
                for shift in (0, 2):
                    windows = (
                        magnitude.roll((-shift, -shift), (0, 1)).unfold(0, 4, 4).unfold(1, 4, 4)
                    )
                    scores = windows.reshape(num_windows, 16).norm(dim=1)
                    ranking[shift] = scores.argsort(descending=True)
            shift = 2 * (i % 2)
            chosen = ranking[shift][:kept] if ratio else torch.arange(num_windows)
            before = y
            y = naive_block(stage.blocks[i], y, hw, shift, 4, chosen, pad_before_norm)
            if ratio:
                assert (y == before).all(-1).any()  # some tokens were not computed
        assert relative_error(out[image], y) < 1e-5


@torch.no_grad()
def test_pruned_windows_pass_through_bit_for_bit():
    model = randomize(SparseViT(**SMALL, pruning_ratios=[0.75, 0, 0, 0])).eval()
    x = torch.randn(3, 16 * 16, 16)
    stage = model.stages[0]
    _, _, out, _ = stage(
        x.clone(), (16, 16), model.ratios_in_force()[0][:1] + model.ratios_in_force()[0][:1]
    )
    # 4 of 16 windows stay in each block, so at most 8 windows' worth of tokens changed.
    changed = (out != x).any(-1).sum(1)
    assert (changed >= 4 * 16).all()
    assert (changed <= 8 * 16).all()


@pytest.mark.parametrize('size', [(64, 96), (50, 75)])
def test_every_parameter_gets_a_gradient_when_sparse(size):
    # DDP without find_unused_parameters needs this.
    model = randomize(SparseViT(**SMALL, pruning_ratios=0.8, with_cp=True)).train()
    sum(out.square().mean() for out in model(torch.randn(2, 3, *size))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_sparse_gradients_agree_with_finite_differences():
    model = randomize(SparseViT(**SMALL, pruning_ratios=SPARSE)).double().eval()
    image = torch.randn(1, 3, 36, 52, dtype=torch.float64)
    weight = model.stages[0].blocks[1].attn['w_msa'].relative_position_bias_table
    direction = torch.randn_like(weight)

    def loss():
        return sum(out.square().mean() for out in model(image))

    loss().backward()
    with torch.no_grad():
        slopes = []
        for step in (1e-5, -1e-5):
            weight.add_(step * direction)
            slopes.append(loss() / (2 * step))
            weight.sub_(step * direction)
    expected = (weight.grad * direction).sum()
    assert abs(sum(slopes) - expected) < 1e-4 * abs(expected)


def test_images_of_a_batch_do_not_mix():
    model = randomize(SparseViT(**SMALL, pruning_ratios=SPARSE)).eval()
    images = torch.randn(3, 3, 50, 75)
    with torch.no_grad():
        together = model(images)
        for i in range(3):
            for a, b in zip(together, model(images[i : i + 1]), strict=True):
                torch.testing.assert_close(a[i : i + 1], b)


def test_frozen_stages_stay_frozen():
    model = SparseViT(**SMALL, frozen_stages=2, drop_path_rate=0.5)
    assert model.train() is model
    frozen = [model.patch_embed, model.stages[0], model.stages[1], model.norm0, model.norm1]
    for module in frozen:
        assert not any(m.training for m in module.modules())
        assert not any(p.requires_grad for p in module.parameters())
    assert model.stages[2].training
    sum(out.mean() for out in model(torch.randn(1, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in model.stages[2].parameters())


def test_position_embedding_is_resized_for_other_sizes():
    model = SparseViT(**SMALL, use_abs_pos_embed=True, pretrain_img_size=64)
    assert model.absolute_pos_embed.shape == (1, 256, 16)
    torch.nn.init.constant_(model.absolute_pos_embed, 0.5)
    same = model.position_embedding((16, 16))
    other = model.position_embedding((10, 23))
    assert same is model.absolute_pos_embed
    torch.testing.assert_close(other, torch.full((1, 230, 16), 0.5))
    assert model(torch.randn(1, 3, 40, 90))[0].shape == (1, 16, 10, 23)


def test_a_fixed_image_size_changes_nothing_but_the_embedding():
    model = randomize(SparseViT(**SMALL, use_abs_pos_embed=True, pretrain_img_size=64)).eval()
    image = torch.randn(1, 3, 41, 90)
    expected = model(image)
    model.fix_image_size((41, 90))
    assert model.absolute_pos_embed.shape == (1, 11 * 23, 16)
    assert all(map(torch.equal, model(image), expected))


def test_ratios_change_what_is_computed():
    model = randomize(SparseViT(**SMALL)).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        dense = model(image)
        model.set_pruning_ratios(0.5)
        assert not torch.equal(model(image)[0], dense[0])
        model.set_pruning_ratios(None)
        assert torch.equal(model(image)[0], dense[0])
    model.set_pruning_ratios(SPARSE)
    assert copy.deepcopy(model).pruning_ratios == SPARSE


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(pruning_ratios=[0.1, 0.2, 0.3]), '3 numbers'),
        (dict(pruning_ratios=1), 'less than 1'),
        (dict(depths=(2, 2)), 'must name the same stages'),
        (dict(patch_size=8), 'both must be the same'),
        (dict(num_heads=(3, 6, 12, 24)), '16 channels cannot be shared out evenly to 3 heads'),
        (dict(pretrained='a', init_cfg=dict(type='Pretrained', checkpoint='b')), 'not both'),
        (dict(window_size=0), 'window_size must be a number of at least 1, not 0'),
        (dict(window_size='7'), "window_size must be a number of at least 1, not '7'"),
        (dict(embed_dims=6.0), 'embed_dims must be a number'),
        (dict(depths='2262'), 'depths must be a list'),
        (dict(depths=(-2, 2, 2, 2)), 'depths must be whole numbers of at least 0'),
        (dict(mlp_ratio=0), 'mlp_ratio must be above 0'),
        (dict(drop_path_rate=2), 'drop_path_rate must be from 0 to 1, not 2'),
        (dict(in_channels=0), 'in_channels must be a number of at least 1'),
        (dict(out_indices=()), 'out_indices must be a list'),
        (dict(out_indices=3), 'out_indices must be a list'),
        (dict(out_indices=(0, 1, 1)), 'each at most once'),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='SparseViT', **{**SMALL, **settings}))


def test_ratios_from_a_file(tmp_path):
    path = tmp_path / 'ratios.json'
    path.write_text(json.dumps(SPARSE))
    assert SparseViT(**SMALL, pruning_ratios=str(path)).pruning_ratios == SPARSE
