"""SparseViT and SparseViTV2 by mmpretrain's arguments, against mmpretrain's own Swins."""

import pytest
import torch

pytest.importorskip('mmpretrain')

from mmpretrain.models.backbones import SwinTransformer, SwinTransformerV2

from sparse_mm import cpu
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT, SparseViTV2
from tests.models.backbones.reference import relative_error
from tests.models.backbones.test_sparse_vit import randomize

ARCH = dict(embed_dims=16, depths=(2, 3), num_heads=(1, 2))
ARCH_V2 = dict(**ARCH, extra_norm_every_n_blocks=2)
SETTINGS = [
    dict(),
    dict(pad_small_map=True, out_indices=(0, 1)),
    dict(out_after_downsample=True, out_indices=(0, 1), norm_cfg=None),
    dict(use_abs_pos_embed=True, interpolate_mode='bilinear', patch_cfg=dict(norm_cfg=None)),
    dict(
        stage_cfgs=[
            dict(downsample_cfg=dict(kernel_size=3, norm_cfg=None), block_cfgs=dict(ffn_ratio=2)),
            dict(block_cfgs=dict(window_size=4, attn_cfgs=dict(qkv_bias=False))),
        ]
    ),
]
SETTINGS_V2 = [
    dict(),
    dict(window_size=[8, 4], pretrained_window_sizes=[6, 3], out_indices=(0, 1)),
    dict(pad_small_map=True, use_abs_pos_embed=True, norm_cfg=None),
    dict(stage_cfgs=dict(block_cfgs=dict(attn_cfgs=dict(qkv_bias=False)))),
]


def pair(theirs, ours, arch, **settings):
    """mmpretrain's Swin and ours with the same weights, loaded in both directions."""
    settings = dict(arch=arch, img_size=64, out_indices=(1,), window_size=7) | settings
    host, own = randomize(theirs(**settings)), ours(**settings)
    assert set(own.state_dict()) == {*host.state_dict(), 'saved_ratios'}
    own.load_state_dict(host.state_dict())
    assert host.load_state_dict(own.state_dict(), strict=False).unexpected_keys == ['saved_ratios']
    host.eval(), own.eval()
    return host, own


@pytest.mark.parametrize(
    ('theirs', 'ours', 'arch', 'settings'),
    [(SwinTransformer, SparseViT, ARCH, settings) for settings in SETTINGS]
    + [(SwinTransformerV2, SparseViTV2, ARCH_V2, settings) for settings in SETTINGS_V2],
)
# 56: the window of 7 covers the last map, which is not shifted then.
@pytest.mark.parametrize('size', [(56, 56), (64, 100)])
def test_dense_equals_mmpretrains(theirs, ours, arch, settings, size):
    host, own = pair(theirs, ours, arch, **settings)
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = host(image)
        for disabled in True, False:
            with cpu.disabled() if disabled else torch.no_grad():
                found = own(image)
            assert len(found) == len(expected)
            for a, b in zip(found, expected, strict=True):
                assert a.shape == b.shape
                assert relative_error(a, b) < 1e-5


@pytest.mark.parametrize(
    ('settings', 'taken'),
    [
        (dict(), True),
        (dict(pad_small_map=True, norm_cfg=None), True),
        (dict(use_abs_pos_embed=True, interpolate_mode='bilinear'), True),
        (dict(out_after_downsample=True, out_indices=(0,)), False),
        (dict(patch_cfg=dict(kernel_size=7, padding=3)), False),
        (dict(stage_cfgs=dict(downsample_cfg=dict(bias=True))), False),
    ],
)
@pytest.mark.parametrize('ratios', [0, [0.5, 0.3]])
def test_the_executor_computes_only_what_it_computes_equally(settings, taken, ratios):
    settings = dict(arch=ARCH, img_size=64, out_indices=(1,)) | settings
    model = randomize(SparseViT(**settings, pruning_ratios=ratios)).eval()
    for size in ((56, 56), (70, 90)):
        image = torch.randn(2, 3, *size)
        with torch.no_grad():
            assert cpu.takes(model, image) == taken
            found = model(image)
            with cpu.disabled():
                expected = model(image)
        for a, b in zip(found, expected, strict=True):
            assert relative_error(a, b) < 1e-5


@pytest.mark.parametrize(('ours', 'arch'), [(SparseViT, ARCH), (SparseViTV2, ARCH_V2)])
def test_every_parameter_is_used_when_pruned(ours, arch):
    model = ours(arch=arch, img_size=64, out_indices=(1,), window_size=4, pruning_ratios=0.5)
    model.train()
    (out,) = model(torch.randn(2, 3, 64, 80))
    out.square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(('ours', 'arch'), [(SparseViT, ARCH), (SparseViTV2, ARCH_V2)])
def test_pruned_windows_pass_through(ours, arch):
    model = ours(arch=arch, img_size=64, window_size=4, out_indices=(0,), norm_cfg=None).eval()
    image = torch.zeros(1, 3, 64, 64)
    image[..., 32:, 32:] = torch.randn(32, 32)
    with torch.no_grad():
        model.set_pruning_ratios([[0.75, 0.75], [0, 0, 0]])
        (pruned,) = model(image)
        tokens, shape = model.embed(image)
    stem = tokens.transpose(1, 2).unflatten(2, shape)
    # The stem may be summed in another order by itself than in the pass.
    changed = ((pruned - stem).abs() > 1e-4 * stem.abs().max()).any(dim=1)[0]
    # 4 of 16 windows are computed in each block; the shifted block uses the same ranking.
    assert 0 < changed.float().mean() <= 0.5


def test_gradients_with_recomputation_and_v2_stochastic_depth_equal_mmpretrains():
    settings = dict(arch=ARCH_V2, img_size=64, out_indices=(1,), drop_path_rate=0.5, with_cp=True)
    host, own = pair(SwinTransformerV2, SparseViTV2, ARCH_V2, drop_path_rate=0.5)
    image = torch.randn(2, 3, 64, 64)
    own = SparseViTV2(**settings, window_size=7)
    own.load_state_dict(host.state_dict())
    gradients = []
    for model in host, own:
        model.train()
        torch.manual_seed(0)
        model(image)[0].square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, expected in gradients[0].items():
        assert (gradients[1][name] - expected).norm() <= 1e-4 * expected.norm() + 1e-6, name


def test_layer_depths_are_mmpretrains():
    host, own = pair(SwinTransformer, SparseViT, ARCH)
    for name, _ in host.named_parameters(prefix='backbone'):
        expected = host.get_layer_depth(name, 'backbone.')
        assert own.get_layer_depth(name, 'backbone.') == expected, name
    assert own.get_layer_depth('head.fc.weight', 'backbone.') == (6, 7)


@pytest.mark.parametrize('frozen', [-1, 0, 1])
def test_frozen_stages_count_as_mmpretrains(frozen):
    host, own = pair(SwinTransformer, SparseViT, ARCH, frozen_stages=frozen)
    for model in host, own:
        model.train()
    assert {n for n, p in own.named_parameters() if p.requires_grad} == {
        n for n, p in host.named_parameters() if p.requires_grad
    }


def test_weights_of_other_sizes_are_resized_when_loaded():
    settings = dict(arch=ARCH, out_indices=(1,), use_abs_pos_embed=True)
    state = randomize(SparseViT(**settings, img_size=64)).state_dict()
    state['norm.weight'], state['norm.bias'] = state.pop('norm1.weight'), state.pop('norm1.bias')
    model = SparseViT(**settings, img_size=96, window_size=12)
    model.load_state_dict({f'backbone.{n}'.removeprefix('backbone.'): v for n, v in state.items()})
    assert torch.equal(model.norm1.weight, state['norm.weight'])
    assert model.absolute_pos_embed.std() > 0.01


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
def test_an_embedding_is_resized_as_mmpretrain_does(mode):
    settings = dict(arch=ARCH, out_indices=(1,), use_abs_pos_embed=True, interpolate_mode=mode)
    state = randomize(SparseViT(**settings, img_size=64)).state_dict()
    # Early versions kept their masks.
    state['stages.0.blocks.1.attn.attn_mask'] = torch.zeros(1, 4, 4)
    ours, host = SparseViT(**settings, img_size=96), SwinTransformer(**settings, img_size=96)
    ours.load_state_dict(dict(state))  # strictly
    host.load_state_dict(dict(state), strict=False)
    torch.testing.assert_close(ours.absolute_pos_embed, host.absolute_pos_embed)


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        (dict(arch='tny'), "arch 'tny' is none of tiny, .*did you mean 'tiny'"),
        (dict(arch='tiny', embed_dims=16), 'arch=dict'),
        (dict(arch='tiny', img_sise=224), "did you mean 'img_size'"),
        (dict(embed_dim=16), "did you mean 'embed_dims'"),
        (dict(arch='tiny', pretrained_window_sizes=[0] * 4), 'SparseViTV2'),
        (dict(arch='tiny', frozen_stages=4), 'frozen_stages is 4'),
        (dict(frozen_stages=5), 'frozen_stages is 5'),
        (dict(out_indices=(4,)), 'out_indices'),
        (dict(pretrain_img_size=(64,)), 'pretrain_img_size must be'),
        (dict(num_heads=(3, 6, 12, 25)), 'to 25 heads'),
        (dict(arch='tiny', stage_cfgs=[{}]), 'list of 4'),
        (dict(arch='tiny', stage_cfgs=[3] * 4), 'stage_cfgs of stage 0 must be a dict, not 3'),
        (dict(arch='tiny', window_size=0), 'window_size must be a number of at least 1'),
        (dict(arch=dict(embed_dims=0, depths=[2], num_heads=[1])), 'embed_dims must be a number'),
        (dict(arch='tiny', drop_path_rate=-1), 'drop_path_rate must be from 0 to 1'),
        (dict(arch='tiny', stage_cfgs=dict(windw_size=4)), 'windw_size'),
        (
            dict(arch='tiny', stage_cfgs=dict(block_cfgs=[dict(window_size=4), {}])),
            'stage 0 have different|its depth is 6',
        ),
        (dict(arch='tiny', stage_cfgs=dict(downsample_cfg=dict(padding='same'))), 'overlap'),
    ],
)
def test_bad_arguments_get_a_sentence(settings, sentence):
    with pytest.raises(BadInputError, match=sentence):
        SparseViT(**settings)


def test_small_maps_and_masks_get_a_sentence():
    model = SparseViT(arch=ARCH, img_size=64, out_indices=(1,))
    with pytest.raises(BadInputError, match='pad_small_map=True'):
        model(torch.zeros(1, 3, 32, 32))
    with pytest.raises(BadInputError, match='SimMIM'):
        model(torch.zeros(1, 3, 64, 64), torch.zeros(1))
