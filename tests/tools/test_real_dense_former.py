"""SparseFormer's dense configs on real images: full-sized models, a step, a test; small images."""

import pytest

from tests.tools.test_real_cityscapes import SMALL_IMAGES, SMALL_UPERNET

COCO = """
resize = dict(type='Resize', scale=(160, 112), keep_ratio=True)
load = [dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
train_dataloader = dict(
    dataset=dict(pipeline=[*load, resize, dict(type='PackDetInputs')], indices=1), **loader)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (112, 112)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, indices=1), **loader)
test_dataloader = val_dataloader
# One step from scratch leaves every score near 1 / 81, below the config's threshold of 0.05.
model = dict(
    train_cfg=dict(rpn_proposal=dict(max_per_img=50), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(max_per_img=20), rcnn=dict(score_thr=1e-4)))
train_cfg = dict(max_epochs=1, val_interval=2)
"""


@pytest.mark.slow
def test_coco(train_reduced, call_tool, shared):
    name = 'sparseformer_maskrcnn_coco.py'
    config, checkpoint, log = train_reduced(name, COCO, COCO_ROOT=shared('data/coco'))
    assert 'loss_mask' in log
    assert 'coco/segm_mAP' in call_tool('test.py', config, checkpoint, '--work-dir', 'run')


@pytest.mark.slow
def test_cityscapes(train_reduced, call_tool, shared):
    root = shared('data/cityscapes')
    config, checkpoint, log = train_reduced(
        'sparseformer_upernet_cityscapes.py', SMALL_IMAGES + SMALL_UPERNET, CITYSCAPES_ROOT=root
    )
    assert 'decode.loss_ce' in log
    assert 'mIoU' in call_tool('test.py', config, checkpoint, '--work-dir', 'run')
