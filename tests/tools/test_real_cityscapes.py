"""The Cityscapes configs on real images: a step, the method's phases, a test; small crops."""

import json
import re

import pytest
import torch

from tests.conftest import ROOT, require_configs_of

SMALL_IMAGES = """
crop_size = (96, 128)
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
crop = dict(type='RandomCrop', crop_size=crop_size)
train_dataloader = dict(
    dataset=dict(pipeline=[*load, crop, dict(type='PackSegInputs')]), **loader)
train_dataloader.update(batch_size=2)
# Stretched to a small image; the prediction is scored at the size of the real one.
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (128, 64)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, indices=1), **loader)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=1, val_begin=9)  # tools/test.py is what tests
"""
SMALL_UPERNET = """
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(norm_cfg=dict(type='BN')), auxiliary_head=dict(norm_cfg=dict(type='BN')))
"""
# The method in two steps instead of 160 000.
PHASES = """
model['backbone'] = dict(init_cfg=None)
train_cfg.update(max_iters=2)
custom_hooks = _base_.custom_hooks
custom_hooks[0].update(begin=0, end=1)
custom_hooks[1].update(
    at=1, budget='macs=0.9', generations=None, evaluations=2, population=2, num_images=1,
    finalists=1, final_images=1, batch=1, image_size=(64, 128), latency_seconds=1)
"""
# Swin-L's depths and windows at an eighth of its width; Mask2Former with less of everything.
SMALL_MASK2FORMER = """
width = 24
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        embed_dims=width, num_heads=[3, 6, 12, 24], init_cfg=None,
        pruning_ratios=[0.5, 0, [0, 0, 0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.6], 0]),
    decode_head=dict(
        in_channels=[width, 2 * width, 4 * width, 8 * width],
        num_queries=10,
        pixel_decoder=dict(encoder=dict(num_layers=1)),
        transformer_decoder=dict(num_layers=2),
        train_cfg=dict(num_points=200)))
"""


@pytest.fixture(autouse=True)
def mmseg() -> None:
    require_configs_of('mmseg')


def miou(log):
    """The last value of mmseg's own metric, in percent."""
    return float(re.findall(r'mIoU: ([\d.]+)', log)[-1])


@pytest.mark.slow
def test_upernet_runs_the_whole_method(train_reduced, call_tool, tmp_path, shared):
    """Swin-T at full width adapts for a step, searches, finetunes; the winner is tested."""
    root = shared('data/cityscapes')
    config, checkpoint, log = train_reduced(
        'sparsevit_upernet_cityscapes.py',
        SMALL_IMAGES + SMALL_UPERNET + PHASES,
        CITYSCAPES_ROOT=root,
    )
    assert 'decode.loss_ce' in log
    best = json.loads((tmp_path / 'run' / 'sparsity_search' / 'best.json').read_text())
    assert best['macs'] <= 0.9
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    numerators, denominators = state['backbone.saved_ratios'].T
    found = [ratio for stage in best['pruning_ratios'] for ratio in stage for _ in range(2)]
    assert (numerators / denominators).tolist() == pytest.approx(found)
    tested = call_tool('test.py', config, checkpoint, '--work-dir', 'run')
    assert 0 <= miou(tested) <= 100
    assert 'traffic light' in tested  # its table has a line for each class


@pytest.mark.slow
def test_mask2former_with_ratios(train_reduced, call_tool, shared):
    """A step and a test with 18 blocks pruned by nine numbers."""
    root = shared('data/cityscapes')
    config, checkpoint, log = train_reduced(
        'sparsevit_mask2former_cityscapes.py',
        SMALL_IMAGES + SMALL_MASK2FORMER,
        CITYSCAPES_ROOT=root,
    )
    assert 'decode.d1.loss_dice' in log
    assert 0 <= miou(call_tool('test.py', config, checkpoint, '--work-dir', 'run')) <= 100


@pytest.mark.slow
def test_unconverted_label_maps_are_found_before_training(refusal, tmp_path, shared):
    real = shared('data/cityscapes')
    for folder in ('leftImg8bit', 'gtFine/val'):
        (tmp_path / folder).parent.mkdir(exist_ok=True)
        (tmp_path / folder).symlink_to(real / folder)
    (tmp_path / 'gtFine/train/aachen').mkdir(parents=True)
    for path in (real / 'gtFine/train/aachen').glob('*_polygons.json'):
        (tmp_path / 'gtFine/train/aachen' / path.name).symlink_to(path)
    config = ROOT / 'configs' / 'sparsevit_mask2former_cityscapes.py'
    message = refusal('train.py', config, env={'CITYSCAPES_ROOT': str(tmp_path)})
    assert '4 of 4 annotations' in message
    assert 'csCreateTrainIdLabelImgs' in message
    message = refusal('train.py', config, env={'CITYSCAPES_ROOT': str(tmp_path / 'elsewhere')})
    assert "there is no '" in message
    assert 'CITYSCAPES_ROOT' in message
