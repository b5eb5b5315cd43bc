"""Clips through transforms and recogniser: views, chunks, mixing, a training and its resumption."""

from functools import partial

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope

import projects.video_recognition.video_recognition  # noqa: F401, registers
from sparse_mm.engine.config_file import read_config
from sparse_mm.engine.inspection import build_backbone
from sparse_mm.errors import BadInputError
from tests.conftest import ROOT

CONFIGS = ROOT / 'projects' / 'video_recognition' / 'configs'
BACKBONE = dict(
    type='VideoSparseFormer',
    arch=dict(num_tokens=4, dims=(16, 32), depth=1, drop_path_rate=0.0),
    replicates=2,
    focusing_repeats=1,
    num_heads=2,
    num_points=4,
    feature_channels=8,
)


def build(**settings):
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='ClipRecognizer',
            backbone=BACKBONE,
            head=dict(type='LinearClsHead', num_classes=3, in_channels=32),
            data_preprocessor=dict(num_classes=3, mean=[100.0] * 3, std=[50.0] * 3),
            **settings,
        )
    )
    model.init_weights()
    torch.nn.init.normal_(model.head.fc.weight)
    return model.eval()


def apply(kind, clips, **settings):
    transform = TRANSFORMS.build(dict(type=kind, **settings))
    return transform(dict(clips=clips))['clips']


def clips_of(height, width, views=1, frames=3):
    random = np.random.default_rng(0)
    return random.integers(0, 255, (views, frames, height, width, 3), np.uint8)


def batch(views=5, videos=3):
    torch.manual_seed(0)
    return torch.randint(0, 255, (videos, views, 3, 4, 16, 16), dtype=torch.uint8)


# Transforms


def test_sizes():
    clips = clips_of(30, 60, views=2)
    assert apply('ResizeClips', clips, short_side=20).shape == (2, 3, 20, 40, 3)
    assert apply('ResizeClips', clips, size=(24, 16)).shape == (2, 3, 24, 16, 3)
    assert apply('RandomResizedCropClips', clips, size=18).shape == (2, 3, 18, 18, 3)
    with pytest.raises(BadInputError, match='smaller than the crop'):
        apply('CropClips', clips, size=32)


@pytest.mark.parametrize('size', [(20, 50), (50, 20)])
def test_three_crops_reach_from_end_to_end_and_differ(size):
    clips = clips_of(*size, views=2)
    found = apply('CropClips', clips, size=20, num_crops=3)
    assert found.shape == (6, 3, 20, 20, 3)
    axis = 2 if size[0] < size[1] else 1
    for clip in range(2):
        for crop, corner in enumerate((0, 15, 30)):
            part = np.take(clips[clip], range(corner, corner + 20), axis=axis)
            assert np.array_equal(found[3 * clip + crop], part)


def test_all_frames_are_cut_and_mirrored_alike():
    still = np.repeat(clips_of(20, 30, frames=1), 4, axis=1)
    cut = apply('RandomResizedCropClips', still, size=8)
    assert (cut == cut[:, :1]).all()
    assert np.array_equal(apply('FlipClips', still, prob=1.0), still[:, :, :, ::-1])
    assert np.array_equal(apply('FlipClips', still, prob=0.0), still)


def test_packing():
    pack = TRANSFORMS.build(dict(type='PackClips'))
    clips = clips_of(8, 10, views=2)
    packed = pack(dict(clips=clips, gt_label=2, video_path='a.mp4'))
    assert packed['inputs'].shape == (2, 3, 3, 8, 10)
    assert np.array_equal(packed['inputs'][1, 2, 0].numpy(), clips[1, 0, ..., 2])
    assert packed['data_samples'].num_views == 2
    assert pack(dict(clips=clips[:1]))['inputs'].shape == (3, 3, 8, 10)
    frame = TRANSFORMS.build(dict(type='TakeFrame'))(dict(clips=clips[:1]))
    image = TRANSFORMS.build(dict(type='PackClips', as_image=True))(frame)['inputs']
    assert np.array_equal(image.permute(1, 2, 0).numpy(), clips[0, 1])


# Recogniser


@torch.no_grad()
def test_the_score_is_the_mean_of_the_views_whatever_the_chunk_or_batch():
    model = build()
    inputs = model.data_preprocessor(dict(inputs=batch()))['inputs']
    single = [
        torch.stack(
            [model(video[view : view + 1], mode='predict')[0].pred_score for view in range(5)]
        )
        for video in inputs
    ]
    expected = torch.stack([views.mean(0) for views in single])
    assert (single[0].std(0) > 0).any()
    for max_views in (1, 2, 5, 100):
        model.max_views = max_views
        found = torch.stack([sample.pred_score for sample in model(inputs, mode='predict')])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        alone = model(inputs[1:2], mode='predict')[0]
        torch.testing.assert_close(alone.pred_score, expected[1], rtol=1e-5, atol=1e-6)
        assert alone.pred_label == expected[1].argmax()


def test_at_most_max_views_are_computed_at_once():
    model, sizes = build(max_views=4), []
    model.backbone.register_forward_hook(lambda _, inputs, out: sizes.append(len(inputs[0])))
    model(batch().float(), mode='predict')
    assert sizes == [4, 4, 4, 3]
    with pytest.raises(BadInputError, match='max_views must be at least 1'):
        build(max_views=0)


def test_clips_are_normalised_by_channel():
    model = build()
    inputs = batch(videos=2)
    for given in (inputs, list(inputs)):
        found = model.data_preprocessor(dict(inputs=given))['inputs']
        torch.testing.assert_close(found, (inputs.float() - 100) / 50)


def test_mixing_treats_the_frames_of_a_clip_alike():
    pack = TRANSFORMS.build(dict(type='PackClips'))
    mixed = set()
    for augment in (dict(type='Mixup', alpha=1.0), dict(type='CutMix', alpha=1.0)):
        model = build(train_cfg=dict(augments=[augment]))
        for _ in range(10):
            data = [
                pack(dict(clips=np.full((1, 4, 16, 16, 3), level, np.uint8), gt_label=label))
                for label, level in enumerate((50, 150))
            ]
            out = model.data_preprocessor(
                {key: [item[key] for item in data] for key in ('inputs', 'data_samples')}, True
            )
            clips = out['inputs'] * 50 + 100
            assert (clips == clips[:, :, :1]).all()
            share = (clips[0].mean() - 50) / 100  # of the second clip in the first
            torch.testing.assert_close(out['data_samples'][0].gt_score[1], share, rtol=0, atol=1e-2)
            mixed.add(bool(0 < share < 1))
            assert torch.isfinite(model(**out, mode='loss')['loss'])
    assert True in mixed


# Configs


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base'])
def test_the_papers_configs(arch):
    cfg = read_config(str(CONFIGS / f'video_sparseformer_{arch}_kinetics400.py'))
    assert cfg.model.backbone.arch == arch
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'
    with torch.device('meta'):
        backbone = build_backbone(cfg)
    assert cfg.model.head.in_channels == backbone.num_features
    assert backbone.replicates == 8
    wrapper = {**cfg.optim_wrapper, 'type': 'OptimWrapper'}
    wrapper.pop('loss_scale')  # of AMP, which a CPU has not
    head = torch.nn.Linear(cfg.model.head.in_channels, 400, device='meta')
    model = torch.nn.ModuleDict(dict(backbone=backbone, head=head))
    model.get_layer_depth = partial(backbone.get_layer_depth, prefix='backbone.')
    groups = build_optim_wrapper(model, wrapper).optimizer.param_groups
    rates = {group['param_name']: group['lr'] for group in groups}
    assert rates['head.weight'] == pytest.approx(3e-4)
    assert rates['backbone.norm.weight'] == pytest.approx(0.75 * 3e-4)
    assert rates['backbone.stem.conv.weight'] == min(rates.values())
    decays = {group['param_name']: group['weight_decay'] for group in groups}
    assert decays['backbone.token_rois'] == 0 < decays['backbone.stem.conv.weight']
    pipeline = cfg.test_dataloader.dataset.pipeline
    assert pipeline[0].num_clips * pipeline[2].num_crops == 12
    assert cfg.val_dataloader.dataset.pipeline[0].get('num_clips', 1) == 1
