"""Swin's checkpoints in every layout: recognised by the weights' names, or refused."""

import re

import pytest
import torch
import torchvision.models.swin_transformer as tv

from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT, SparseViTV2
from tests.models.backbones.reference import relative_error
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


def torchvisions(version_2):
    kinds = dict(block=tv.SwinTransformerBlockV2, downsample_layer=tv.PatchMergingV2)
    model = tv.SwinTransformer(
        [4, 4], 16, [2, 2, 2], [1, 2, 4], [4, 4], **(kinds if version_2 else {})
    )
    randomize(model)
    return model.eval()


def by_transformers_names(weights):
    """What transformers calls the weights of the original Swin; it splits queries, keys, values."""
    split = {k: v for k, v in weights.items() if 'qkv.' not in k}
    for name in weights.keys() - split.keys():
        for part, piece in zip(('query', 'key', 'value'), weights[name].chunk(3), strict=True):
            split[name.replace('qkv', part)] = piece
    renamed = {}
    for name, value in split.items():
        for part, own in (('q_bias', 'query.bias'), ('v_bias', 'value.bias')):
            name = name.replace(f'attn.{part}', f'attention.self.{own}')
        for theirs, new in (
            ('attn.proj', 'attention.output.dense'),
            ('attn.cpb_mlp', 'attention.self.continuous_position_bias_mlp'),
            ('attn.', 'attention.self.'),
            ('mlp.fc1', 'intermediate.dense'),
            ('mlp.fc2', 'output.dense'),
        ):
            name = name.replace(theirs, new)
        name = re.sub(r'\.norm1\.(?=[wb])', '.layernorm_before.', name)
        name = re.sub(r'\.norm2\.(?=[wb])', '.layernorm_after.', name)
        name = re.sub(r'^norm\.', 'layernorm.', name)
        name = name.replace('patch_embed.proj', 'embeddings.patch_embeddings.projection')
        name = name.replace('patch_embed.norm', 'embeddings.norm')
        renamed[re.sub('^layers', 'encoder.layers', name)] = value
    return {f'swin.{name.replace("swin.head", "classifier")}': v for name, v in renamed.items()}


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


@pytest.mark.parametrize('version_2', [False, True])
def test_torchvisions_swin_gives_its_outputs(tmp_path, version_2):
    theirs = torchvisions(version_2)
    torch.save(theirs.state_dict(), tmp_path / 'swin.pth')
    arch = dict(embed_dims=16, depths=(2, 2, 2), num_heads=(1, 2, 4))
    settings = dict(arch=arch, window_size=4, img_size=64, out_indices=(2,))
    if version_2:
        arch['extra_norm_every_n_blocks'] = 0
        settings['pretrained_window_sizes'] = [0, 0, 0]
    build = SparseViTV2 if version_2 else SparseViT
    loaded = start(build, tmp_path / 'swin.pth', **settings).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.permute(theirs.norm(theirs.features(image)))
        assert relative_error(loaded(image)[0], expected) < 1e-5


@pytest.mark.parametrize(('build', 'settings'), [(SparseViT, SMALL), (SparseViTV2, V2)])
def test_the_names_of_transformers_are_translated(tmp_path, build, settings):
    settings = {**settings, 'out_indices': (2,)}
    model = randomize(build(**settings))
    weights = by_transformers_names(in_original_layout(model))
    assert 'swin.encoder.layers.0.blocks.0.attention.self.query.weight' in weights
    torch.save(weights, tmp_path / 'swin.pth')
    loaded = start(build, tmp_path / 'swin.pth', **settings)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    del weights['swin.encoder.layers.0.blocks.0.attention.self.key.weight']
    torch.save(weights, tmp_path / 'swin.pth')
    with pytest.raises(BadInputError, match=r'lacks key of .* save all of its weights'):
        start(build, tmp_path / 'swin.pth', **settings)


def test_the_backbone_of_a_detector_of_transformers(tmp_path):
    """It has a norm for each output, as mmdet's; its stages count from 1."""
    model = randomize(SparseViT(**SMALL))
    weights = by_transformers_names(in_original_layout(model))
    weights = {k: v for k, v in weights.items() if 'layernorm.' not in k and 'classifier' not in k}
    for i in range(3):
        for kind, value in getattr(model, f'norm{i}').state_dict().items():
            weights[f'swin.hidden_states_norms.stage{i + 1}.{kind}'] = value
    encoder = 'model.pixel_level_module.encoder.'  # of its Mask2Former
    weights = {name.replace('swin.', encoder): value for name, value in weights.items()}
    weights['class_predictor.weight'] = torch.zeros(3)
    torch.save(weights, tmp_path / 'swin.pth')
    loaded = start(SparseViT, tmp_path / 'swin.pth', **SMALL)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_timms_feature_extractors(tmp_path):
    model = randomize(SparseViT(**SMALL))
    theirs = in_original_layout(model, timm=True)
    weights = {re.sub(r'^layers\.', 'layers_', name): value for name, value in theirs.items()}
    torch.save(weights, tmp_path / 'swin.pth')
    loaded = start(SparseViT, tmp_path / 'swin.pth', **SMALL)
    for name, value in model.stages.state_dict().items():
        assert torch.equal(loaded.stages.state_dict()[name], value), name


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
        (lambda w: {k: v * float('nan') for k, v in w.items() if v.is_floating_point()}, 'NaN'),
        (
            lambda w: {f'{a}.{k}': v for a in ('student', 'teacher') for k, v in w.items()},
            "prefix='student' in init_cfg",
        ),
        # Other models of torchvision have these names, too.
        (lambda w: {'features.0.0.weight': w['norm2.weight']}, 'none of the weights of a Swin'),
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
