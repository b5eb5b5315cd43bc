"""VideoSparseFormer: the paper's sizes and costs, clips of any size, initial weights of time."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sparse_mm.engine.checks import check_part
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseFormer, VideoSparseFormer
from sparse_mm.models.backbones.sparse_former_unit import PointSampler

SMALL = dict(
    arch=dict(num_tokens=4, dims=(16, 32), depth=2, drop_path_rate=0.0), num_heads=4, num_points=36
)


def build(cls=VideoSparseFormer, **options):
    model = cls(**{**SMALL, **options})
    model.init_weights()
    return model


def sampled_of(model, clips):
    """Runs the model; returns its output, and RoIs and points of each iteration."""
    found = []
    samplers = [module for module in model.modules() if isinstance(module, PointSampler)]
    handles = [
        s.register_forward_hook(lambda _, inputs, points: found.append((inputs[1], points)))
        for s in samplers
    ]
    output = model(clips)
    for handle in handles:
        handle.remove()
    return output, found


def smooth(*shape):
    cells = torch.randn(*shape[:2], 4, 4, 4)
    return F.interpolate(cells, shape[2:], mode='trilinear')


@pytest.mark.parametrize(
    ('arch', 'gmacs', 'without_mixing', 'millions'),
    [
        ('tiny', 23.07, 22.17, 31.33),
        ('small', 39.14, 37.97, 47.37),
        ('base', 74.97, 73.49, 80.88),
    ],
)
def test_costs_of_the_papers_models(arch, gmacs, without_mixing, millions):
    """At 32 frames of 224x224 and 400 classes."""
    with torch.device('meta'):
        model = VideoSparseFormer(arch)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 32, 224, 224, device='meta'))
    macs = counter.get_total_flops() / 2
    mixing = 5 * len(model.token_rois) * 36 * 96 * (96 + 36)
    assert macs / 1e9 == pytest.approx(gmacs, abs=0.005)
    assert (macs - mixing) / 1e9 == pytest.approx(without_mixing, abs=0.005)
    head = 400 * (model.num_features + 1)
    count = sum(parameter.numel() for parameter in model.parameters()) + head
    assert count / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    'options',
    [
        dict(replicates=1),
        dict(num_tokens=5, replicates=3),
        dict(focusing_repeats=0),
        dict(num_points=7),
        dict(image_features='resnet_c2'),
        dict(decoding='static'),
        dict(with_cp=True),
        dict(constants='library'),
    ],
    ids=str,
)
def test_every_setting_runs_at_any_size_and_learns(options):
    model = build(out_type='tokens', **options).train()
    tokens, rois, features = model(torch.randn(2, 3, 5, 21, 30))
    count = len(model.token_rois)
    assert count == model.replicates * options.get('num_tokens', 4)
    assert tokens.shape == (2, count, 32)
    assert rois.shape == (2, count, 6)
    assert features.shape[:3] == (2, model.stem.channels, 5)
    (tokens.square().mean() + rois.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_copies_share_out_time_in_order():
    rois = build(replicates=4).token_rois.detach()
    image = build(SparseFormer).token_rois.detach()
    for i, copy in enumerate(rois.unflatten(0, (4, 4))):
        torch.testing.assert_close(copy[:, [0, 1, 3, 4]], image)
        assert (copy[:, 2] == i / 4).all()
        assert (copy[:, 5] == (i + 1) / 4).all()


def test_a_copy_reads_the_frames_of_its_time():
    """The order of axes, of the sampling and of the stem."""
    model = build(replicates=4, focusing_repeats=1, feature_channels=8).eval()
    clips = torch.randn(1, 3, 8, 16, 16, requires_grad=True)
    with torch.no_grad():
        nn.init.normal_(model.focusing.mixing.generate.weight)
    model.out_type = 'tokens'
    for unit in (model.focusing, *model.cortex):
        unit.attn = nn.Identity()  # tokens do not attend to each other
    tokens, _, _ = model(clips)
    tokens[:, 8:12].square().sum().backward()  # the third copy's: frames 4 and 5, and between
    seen = clips.grad.abs().sum((0, 1, 3, 4)) > 0
    assert seen.tolist() == [False] * 3 + [True] * 4 + [False]


# Initial weights of time


@pytest.mark.parametrize('frames', [1, 3, 8, 32])
@pytest.mark.parametrize('constants', ['training', 'library'])
@torch.no_grad()
def test_a_still_clip_gives_what_the_image_model_gives(tmp_path, frames, constants):
    image_model = build(SparseFormer, out_type='tokens', constants=constants).eval()
    for name, parameter in image_model.named_parameters():
        if 'adjust' in name or 'offset.' in name or 'generate' in name:
            nn.init.normal_(parameter, std=0.1)
    path = tmp_path / 'image.pth'
    torch.save(
        dict(state_dict={f'backbone.{n}': v for n, v in image_model.state_dict().items()}), path
    )
    model = build(
        replicates=8,
        out_type='tokens',
        constants=constants,
        init_cfg=dict(type='Pretrained', checkpoint=str(path)),
    )
    model.double().eval(), image_model.double()
    image = smooth(2, 3, 1, 40, 56).double()
    expected, places, _ = image_model(image[:, :, 0])
    tokens, rois, _ = model(image.repeat(1, 1, frames, 1, 1))
    same = [
        torch.allclose(tokens, expected.repeat(1, 8, 1), atol=1e-6),
        torch.allclose(rois[..., [0, 1, 3, 4]], places.repeat(1, 8, 1), atol=1e-6),
    ]
    torch.testing.assert_close(rois[0, :, [2, 5]], model.token_rois[:, [2, 5]])  # no change in time
    # In the authors' code the first and last copy of so short a clip sample outside of it.
    assert all(same) == (constants == 'training' or frames >= 8)


@pytest.mark.parametrize('num_points', [36, 9])
def test_one_step_moves_the_spread_of_time_no_more_than_that_of_x(num_points):
    model = build(num_points=num_points).train()
    clips, head = smooth(4, 3, 32, 32, 32), nn.Linear(32, 5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    (features,), before = sampled_of(model, clips)
    F.cross_entropy(head(features), torch.arange(4)).backward()
    gradient = model.focusing.sampler.offset_bias.grad.abs().mean(0)
    assert gradient[2] < gradient[0]
    optimizer.step()
    _, after = sampled_of(model, clips)
    for (rois, old), (moved, new) in zip(before, after, strict=True):
        change = (new.std(2) - old.std(2)).abs().mean((0, 1))
        assert change[2] <= change[0]
        sizes = [box[..., 3:] - box[..., :3] for box in (rois, moved)]
        shares = [points.std(2) / size for points, size in zip((old, new), sizes, strict=True)]
        torch.testing.assert_close(*shares, atol=1e-6, rtol=0)


@pytest.mark.parametrize(('replicates', 'frames'), [(8, 32), (8, 16), (4, 32), (1, 16)])
def test_every_frame_is_sampled_from_the_start(replicates, frames):
    model = build(replicates=replicates)
    clips = torch.randn(1, 3, frames, 16, 16, requires_grad=True)
    model.train()(clips)[0].square().sum().backward()
    seen = clips.grad.abs().sum((0, 1, 3, 4))
    assert (seen > seen.mean() / 10).all()


# Starting from checkpoints


def start(path, **options):
    return build(**options, init_cfg=dict(type='Pretrained', checkpoint=str(path)))


def test_an_image_model_of_other_tokens(tmp_path):
    image = build(SparseFormer, num_tokens=9)
    torch.save(image.state_dict(), tmp_path / 'nine.pth')
    model = start(tmp_path / 'nine.pth', replicates=2)
    torch.testing.assert_close(model.token_embedding[:4], image.token_embedding[[0, 2, 6, 8]])
    assert torch.equal(model.token_embedding[:4], model.token_embedding[4:])
    torch.testing.assert_close(model.token_rois, build(replicates=2).token_rois)


def test_a_video_model_of_other_copies(tmp_path):
    saved = build(replicates=4)
    torch.save(saved.state_dict(), tmp_path / 'four.pth')
    copies = saved.token_embedding.unflatten(0, (4, 4))
    for replicates, expected in ((2, [1, 3]), (8, [0, 0, 1, 1, 2, 2, 3, 3])):
        model = start(tmp_path / 'four.pth', replicates=replicates)
        own = model.token_embedding.unflatten(0, (replicates, 4))
        assert torch.equal(own, copies[expected])
        torch.testing.assert_close(model.token_rois, build(replicates=replicates).token_rois)
    same = start(tmp_path / 'four.pth', replicates=4)
    assert all(
        torch.equal(a, b) for a, b in zip(same.parameters(), saved.parameters(), strict=True)
    )
    with pytest.raises(BadInputError, match='16 tokens, which are no copies of the 5'):
        start(tmp_path / 'four.pth', num_tokens=5)


def test_another_arch_is_named(tmp_path):
    with torch.device('meta'):
        small = SparseFormer('small').state_dict()
    weights = {name: torch.zeros(value.shape) for name, value in small.items()}
    torch.save(weights, tmp_path / 'small.pth')
    message = r"does not fit this VideoSparseFormer.*; it looks like arch='small'\."
    with pytest.raises(BadInputError, match=message):
        start(tmp_path / 'small.pth', arch='tiny', num_heads=64)


@pytest.mark.parametrize('constants', ['training', 'library'])
def test_a_checkpoint_of_the_library_says_its_constants(tmp_path, monkeypatch, constants):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
    saved = build(constants='library').state_dict()
    meta = dict(type='VideoSparseFormer', arch='tiny', replicates=8, constants='library')
    torch.save(dict(state_dict=saved, meta=meta), tmp_path / 'theirs.pth')
    model = start(tmp_path / 'theirs.pth', constants=constants)
    assert check_part(str(tmp_path / 'theirs.pth'), model) == []
    if constants == 'library':
        assert said == []
    else:
        assert len(said) == 2  # one each time
        for sentence in said:
            assert "gives its outputs with constants='library'" in sentence
            assert 'set model.backbone.constants=library' in sentence


# Refused settings


@pytest.mark.parametrize('replicates', [0, -1, 1.5, True])
def test_copies_must_be_a_whole_number(replicates):
    with pytest.raises(BadInputError, match=r'replicates, .* must be a whole number of at least 1'):
        build(replicates=replicates)


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((1, 3, 16, 16), r'Clips must come as \(B, 3, T, H, W\), not as \(1, 3, 16, 16\)'),
        ((1, 3, 0, 16, 16), 'at least one frame'),
        ((1, 3, 2, 3, 16), r'\(3, 16\) pixels is smaller than the stride 4'),
        ((1, 3, 2, 16, 3), r'\(16, 3\) pixels is smaller than the stride 4'),
    ],
)
def test_what_is_no_clip_is_refused(shape, message):
    with pytest.raises(BadInputError, match=message):
        build()(torch.zeros(shape))


def test_the_librarys_constants_are_for_what_the_library_has():
    with pytest.raises(BadInputError, match="constants='library' is for image_features='early_c"):
        build(constants='library', decoding='static')
    with pytest.raises(BadInputError, match='constants must be one of training, library'):
        build(constants='paper')


def test_it_is_registered():
    assert type(MODELS.build(dict(type='VideoSparseFormer', **SMALL))) is VideoSparseFormer


def test_depths_of_parameters_rise_from_the_stem_to_the_head():
    model = build()
    depths = {
        n: model.get_layer_depth(f'backbone.{n}', 'backbone.') for n, _ in model.named_parameters()
    }
    assert {total for _, total in depths.values()} == {5}
    assert depths['stem.conv.weight'] == depths['token_embedding'] == (0, 5)
    assert depths['focusing.attn.qkv.weight'] == depths['transition.0.weight'] == (1, 5)
    assert depths['cortex.0.norm1.weight'] == (2, 5)
    assert depths['cortex.1.norm1.weight'] == depths['norm.weight'] == (3, 5)
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (4, 5)
