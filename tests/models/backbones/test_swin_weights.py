"""Swin's checkpoints in every layout: recognised by their names, or refused in a sentence."""

import pytest
import torch

from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT, SparseViTV2
from tests.models.backbones.test_sparse_vit import randomize

SMALL = dict(
    embed_dims=16,
    depths=(2, 1, 2),
    num_heads=(1, 2, 4),
    strides=(4, 2, 2),
    window_size=4,
    out_indices=(0, 1, 2),
)
V2 = dict(
    arch=dict(embed_dims=16, depths=(2, 1, 2), num_heads=(1, 2, 4), extra_norm_every_n_blocks=0),
    window_size=4,
    pretrained_window_sizes=[0, 0, 0],
    out_indices=(2,),
)


def in_original_layout(model, timm=False):
    """The names, the places of the merging and the order of patches of the original or of timm."""
    version_2 = isinstance(model, SparseViTV2)
    weights = {}
    for name, value in model.state_dict().items():
        if name == 'saved_ratios' or name.endswith(('position_index', 'coords_table')):
            continue
        if name.startswith('norm') and not name.startswith('norm2.'):
            continue
        name = name.replace('norm2.', 'norm.') if name.startswith('norm2.') else name
        if 'downsample' in name:
            stage = int(name.split('.')[1])
            moved = stage + int(timm) - int(version_2)
            name = name.replace(f'stages.{stage}.', f'layers.{moved}.')
            if 'reduction' in name or not version_2:
                value = value.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]]
                value = value.transpose(-1, -2).flatten(-2)
        name = name.replace('stages', 'layers').replace('attn.w_msa', 'attn')
        name = name.replace('ffn.layers.0.0', 'mlp.fc1').replace('ffn.layers.1', 'mlp.fc2')
        weights[name.replace('patch_embed.projection', 'patch_embed.proj')] = value
    weights['head.weight'] = torch.zeros(3, 64)
    return weights


def start(build, path, **settings):
    model = build(**settings, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    return model


@pytest.mark.parametrize('convert_weights', [False, True])
@pytest.mark.parametrize('layout', ['mmdet', 'original', 'timm'])
def test_layouts_are_recognised_whatever_the_flag_says(tmp_path, layout, convert_weights):
    model = randomize(SparseViT(**{**SMALL, 'out_indices': (2,)}))
    weights = model.state_dict()
    if layout != 'mmdet':
        weights = in_original_layout(model, timm=layout == 'timm')
    torch.save(dict(model=weights), tmp_path / 'swin.pth')
    settings = {**SMALL, 'out_indices': (2,), 'convert_weights': convert_weights}
    loaded = start(SparseViT, tmp_path / 'swin.pth', **settings)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize('timm', [False, True])
def test_version_2_is_converted(tmp_path, timm):
    model = randomize(SparseViTV2(**V2))
    torch.save(in_original_layout(model, timm), tmp_path / 'swin.pth')
    loaded = start(SparseViTV2, tmp_path / 'swin.pth', **V2)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize('prefix', ['img_backbone.', 'module.backbone.', 'detector.backbone.'])
def test_the_backbone_is_found_in_a_whole_model(tmp_path, prefix):
    model = randomize(SparseViT(**SMALL))
    weights = {prefix + name: value for name, value in model.state_dict().items()}
    weights |= {'neck.weight': torch.zeros(3)}
    torch.save(dict(state_dict=weights), tmp_path / 'detector.pth')
    loaded = start(SparseViT, tmp_path / 'detector.pth', **SMALL)
    assert torch.equal(loaded.norm2.weight, model.norm2.weight)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda w: {k: v for k, v in w.items() if 'blocks' not in k}, 'too few to start from'),
        (lambda w: {**w, 'encoder.attention.self.query.weight': w['norm2.weight']}, 'transformers'),
        (lambda w: {'features.0.0.weight': w['norm2.weight']}, 'torchvision'),
        (lambda w: SparseViTV2(**V2).state_dict(), "type='SparseViTV2'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, sentence):
    torch.save(change(SparseViT(**SMALL).state_dict()), tmp_path / 'swin.pth')
    with pytest.raises(BadInputError, match=sentence):
        start(SparseViT, tmp_path / 'swin.pth', **SMALL)


@pytest.mark.parametrize(
    ('init_cfg', 'sentence'),
    [
        (dict(type='Pretraind', checkpoint='a.pth'), "did you mean 'Pretrained'"),
        (dict(type='Pretrained'), 'without a checkpoint'),
        (dict(type='Pretrained', checkpoint=''), 'without a checkpoint'),
        ('swin.pth', 'must be a dict'),
    ],
)
def test_a_bad_init_cfg_gets_a_sentence(init_cfg, sentence):
    with pytest.raises(BadInputError, match=sentence):
        SparseViT(**SMALL, init_cfg=init_cfg).init_weights()


def test_other_initialisers_and_lists_of_them(tmp_path):
    constant = dict(type='Constant', layer='LayerNorm', val=3.0)
    model = SparseViT(**SMALL, init_cfg=[constant])
    model.init_weights()
    assert (model.norm0.weight == 3).all()
    source = randomize(SparseViT(**SMALL))
    weights = {f'inner.{k}': v for k, v in source.state_dict().items() if not k.startswith('norm0')}
    torch.save(weights, tmp_path / 'swin.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'swin.pth'), prefix='inner')
    model = SparseViT(**SMALL, init_cfg=[constant, pretrained])
    model.init_weights()
    assert (model.norm0.weight == 3).all()
    assert torch.equal(model.norm1.weight, source.norm1.weight)
    with pytest.raises(BadInputError, match="prefix 'outer'"):
        SparseViT(**SMALL, init_cfg={**pretrained, 'prefix': 'outer'}).init_weights()
