"""Drawing RoIs and sampling points."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from sparse_mm.models import SparseFormer
from tools.benchmarks.sampling_points import sampling_points_of

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['sparse_mm'])
data_preprocessor = dict(mean=[100.0] * 3, std=[50.0] * 3, to_rgb=True)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type={backbone!r}, arch=dict(num_tokens=4, {arch}), num_points=4),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=128))
"""
ARCHS = dict(
    SparseFormer='dims=(64, 128), depth=1, drop_path_rate=0.0',
    BootstrappedSparseFormer="dims=(64, 128), depth=1, activation='gelu'",
)


@pytest.fixture
def files(tmp_path):
    def write(backbone):
        config = tmp_path / 'config.py'
        config.write_text(CONFIG.format(backbone=backbone, arch=ARCHS[backbone]))
        cfg = Config.fromfile(config)
        init_default_scope('mmpretrain')
        model = MODELS.build(cfg.model)
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
        cv2.imwrite(str(tmp_path / 'image.png'), np.full((60, 90, 3), 255, np.uint8))
        return 'image.png', 'config.py', 'weights.pth'

    return write


@pytest.mark.parametrize('backbone', ARCHS)
def test_rois_are_drawn_over_the_image(files, call_tool, tmp_path, backbone):
    inputs = files(backbone)
    options = '--shape', 64, 96, '--out', 'found/all.png'
    log = call_tool('analysis_tools/visualize_rois.py', *inputs, *options)
    assert 'found/all.png (5 of 5 iterations, 4 tokens)' in log
    picture = cv2.imread(str(tmp_path / 'found' / 'all.png'))
    height, width = picture.shape[:2]
    assert width > 5 * height  # five panels beside each other
    coloured = np.ptp(picture, axis=2) > 100
    for panel in np.array_split(coloured, 5, axis=1):
        assert panel.mean() > 0.002


def test_points_lie_around_the_middle_of_their_rois():
    backbone = SparseFormer(
        arch=dict(num_tokens=4, dims=(64, 128), depth=1, drop_path_rate=0.0), focusing_repeats=2
    )
    found = sampling_points_of(backbone, torch.randn(1, 3, 64, 96))
    assert len(found) == 3
    for rois, points in found:
        middle = (rois[..., :2] + rois[..., 2:]) / 2
        torch.testing.assert_close(points.mean(dim=2), middle, atol=1e-5, rtol=0)


def test_refusals(files, refusal):
    image, config, weights = files('SparseFormer')
    tool = 'analysis_tools/visualize_rois.py'
    shape = '--shape', 64, 96
    assert "'no.png' does not exist" in refusal(tool, 'no.png', config, weights, *shape)
    assert 'no fixed image size' in refusal(tool, image, config, weights)
    message = refusal(tool, image, config, weights, *shape, '--stages', 6)
    assert '--stages: 6 is not between 1 and 5' in message
    message = refusal(tool, image, config, weights, *shape, '--tokens', 4)
    assert '--tokens: 4 is not between 0 and 3' in message


def test_with_a_test_pipeline_the_model_sees_what_that_gives(files, call_tool, tmp_path):
    image, config, weights = files('SparseFormer')
    (tmp_path / 'own.py').write_text(PIPELINE)
    call_tool('analysis_tools/visualize_rois.py', image, 'own.py', weights, '--out', 'own.png')
    # The whole picture is drawn, 90x60, although the model sees its centre.
    assert (cv2.imread(str(tmp_path / 'own.png')) > 250).mean() > 0.5
    assert config


PIPELINE = """
_base_ = './config.py'
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=64, edge='short'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs')]
test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=pipeline))
"""
