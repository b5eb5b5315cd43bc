"""The authors' checkpoints, converted: same outputs; other files are refused."""

import pytest
import torch

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.converters.sparse_former import convert_sparse_former
from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer, SparseFormer, VideoSparseFormer
from tests.models.backbones.reference import load_tame, relative_error

TOOL = 'model_converters/sparseformer.py'
MODELS = [
    ('tame_sparseformer_t', SparseFormer, 'tiny'),
    ('tame_sparseformer_t_wide', SparseFormer, 'tiny'),
    ('tame_btsp_augreg_base', BootstrappedSparseFormer, 'augreg_base'),
    ('tame_video_t', VideoSparseFormer, 'tiny'),
]


@pytest.mark.parametrize(('name', 'cls', 'arch'), MODELS)
@torch.no_grad()
def test_the_authors_outputs(shared, call_tool, tmp_path, name, cls, arch):
    weights, image, expected = load_tame(shared, name)
    torch.save(dict(model=weights), tmp_path / 'theirs.pth')
    assert f'arch={arch!r}' in call_tool(TOOL, 'theirs.pth', 'ours.pth')
    saved = read_checkpoint(str(tmp_path / 'ours.pth'))
    state, settings = saved['state_dict'], saved['meta']
    assert settings.pop('type') == cls.__name__
    assert settings['arch'] == arch
    start = dict(type='Pretrained', checkpoint=str(tmp_path / 'ours.pth'))
    model = cls(**settings, out_type='tokens', init_cfg=start).eval()
    model.init_weights()
    backbone = {n.removeprefix('backbone.'): v for n, v in state.items() if 'head.fc' not in n}
    model.load_state_dict(backbone, strict=True)
    if cls is SparseFormer:  # theirs are (N, B, C)
        expected['tokens'] = expected['tokens'].transpose(0, 1)
        expected['rois'] = expected['rois'].transpose(0, 1)
    else:
        expected['logits'] = expected.pop('out')
    if cls is BootstrappedSparseFormer:
        expected['tokens'] = expected['tokens'][:, 1:]  # without the class token
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-7)):
        model.to(dtype)
        found = dict(zip(('tokens', 'rois', 'features'), model(image.to(dtype)), strict=True))
        model.out_type = 'pooled'
        (pooled,) = model(image.to(dtype))
        model.out_type = 'tokens'
        head = [state[f'head.fc.{part}'].to(dtype) for part in ('weight', 'bias')]
        found['logits'] = torch.nn.functional.linear(pooled, *head)
        for key, value in expected.items():
            assert found[key].dtype == dtype
            assert relative_error(found[key].double(), value.double()) < tolerance, key


@torch.no_grad()
def test_the_authors_image_model_sees_a_still_clip_as_it_sees_the_image(
    shared, call_tool, tmp_path
):
    weights, image, _ = load_tame(shared, 'tame_sparseformer_t')
    torch.save(dict(model=weights), tmp_path / 'theirs.pth')
    call_tool(TOOL, 'theirs.pth', 'ours.pth')
    start = dict(type='Pretrained', checkpoint=str(tmp_path / 'ours.pth'))
    image = torch.nn.functional.interpolate(image[:1], (56, 72), mode='bilinear').double()
    found = []
    for cls in (SparseFormer, VideoSparseFormer):
        model = cls('tiny', init_cfg=start).double().eval()
        model.init_weights()
        if cls is VideoSparseFormer:
            image = image.unsqueeze(2).expand(-1, -1, 32, -1, -1)
        found.append(model(image)[0])
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-6)


@torch.no_grad()
def test_both_namings_give_the_same_model(shared):
    weights, _, _ = load_tame(shared, 'tame_sparseformer_t')
    library = {}
    for name, value in weights.items():
        for old, new in (
            ('token_embedding', 'initial_embedding'),
            ('token_roi', 'initial_roi'),
            ('tuo_proj', 'out_proj'),
            ('ln_attn', 'norm1'),
            ('attn.in_proj_', 'attn.qkv.'),
            ('attn.out_proj', 'attn.proj'),
            ('ffn.0', 'norm2'),
            ('ffn.1', 'mlp.fc1'),
            ('ffn.3', 'mlp.fc2'),
            ('head.norm', 'norm'),
            ('head.classifier', 'proj'),
        ):
            name = name.replace(old, new)
        library[name] = value
    ours, theirs = (convert_sparse_former(form).weights for form in (weights, library))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_no_sparse_former_is_refused(shared):
    with pytest.raises(BadInputError, match=r'unknown are backbone.norm.weight; it lacks the tok'):
        convert_sparse_former({'backbone.norm.weight': torch.zeros(1)})
    weights, _, _ = load_tame(shared, 'tame_sparseformer_t')
    weights['layers.2.pe_transition.0.weight'] = torch.zeros(1)
    with pytest.raises(BadInputError, match=r'unknown are layers.2.pe_transition.0.weight'):
        convert_sparse_former(weights)


@pytest.mark.parametrize(('arch', 'replicates'), [('small', 3), ('base', 1), ('tiny', 4)])
def test_copies_of_clips_are_counted(arch, replicates, call_tool, tmp_path):
    """A checkpoint of ours with the library's names is recognised, and gives the same weights."""
    own = VideoSparseFormer(arch, replicates).state_dict()
    theirs = {their_name(name): value for name, value in own.items()}
    theirs['feat_extractor.conv1.weight'] = theirs['feat_extractor.conv1.weight'].unsqueeze(2)
    for name in theirs:
        if name.endswith('roi_offset_bias'):
            theirs[name] = theirs[name].flatten()
    torch.save(theirs, tmp_path / 'theirs.pth')
    assert f'replicates={replicates}' in call_tool(TOOL, 'theirs.pth', 'ours.pth')
    saved = read_checkpoint(str(tmp_path / 'ours.pth'))
    meta = dict(type='VideoSparseFormer', arch=arch, replicates=replicates, constants='library')
    assert saved['meta'] == meta
    state = {name.removeprefix('backbone.'): value for name, value in saved['state_dict'].items()}
    assert state.keys() == own.keys()
    assert all(torch.equal(state[name], own[name]) for name in own)


def test_tokens_that_are_no_copies_are_counted(shared, refusal, tmp_path):
    weights, _, _ = load_tame(shared, 'tame_video_t')
    for name in ('initial_embedding.weight', 'initial_roi.weight'):
        weights[name] = weights[name][:-1]
    torch.save(weights, tmp_path / 'theirs.pth')
    message = refusal(TOOL, 'theirs.pth', 'ours.pth')
    assert (
        'the widths of tiny, but 97 tokens, which are no whole number of copies of its 49'
        in message
    )
    assert not (tmp_path / 'ours.pth').exists()


def their_name(name):
    """The library's name of one of our weights."""
    layer = {'focusing': 'layers.0.', 'transition': 'layers.1.'}
    first, _, rest = name.partition('.')
    if first == 'cortex':
        number, _, rest = rest.partition('.')
        first, layer = 'cortex', {'cortex': f'layers.{int(number) + 2}.'}
    name = layer[first] + rest if first in layer else name
    for ours, theirs in (
        ('stem.conv', 'feat_extractor.conv1'),
        ('token_embedding', 'initial_embedding.weight'),
        ('token_rois', 'initial_roi.weight'),
        ('ffn.0', 'mlp.fc1'),
        ('ffn.2', 'mlp.fc2'),
        ('sampler.offset_bias', 'roi_offset_bias'),
        ('sampler.offset_norm', 'roi_offset_module.0'),
        ('sampler.offset', 'roi_offset_module.1'),
        ('sampler.adjust_norm', 'roi_adjust_module.0'),
        ('sampler.adjust', 'roi_adjust_module.1'),
        ('mixing.norm', 'adaptive_mixing.parameter_generator.0'),
        ('mixing.reduce', 'adaptive_mixing.parameter_generator.1'),
        ('mixing.generate', 'adaptive_mixing.parameter_generator.2'),
        ('mixing.channel_bias', 'adaptive_mixing.m_beta'),
        ('mixing.point_bias', 'adaptive_mixing.s_beta'),
        ('mixing.project', 'adaptive_mixing.out_proj'),
    ):
        name = name.replace(ours, theirs)
    return name
