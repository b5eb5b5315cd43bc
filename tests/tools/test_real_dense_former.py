"""SparseFormer's dense configs on real images: full-sized models, a step, a test; small images."""

import pickle

import pytest

from tests.conftest import ROOT

COMMON = """
_base_ = {base!r}
loader = dict(num_workers=0, persistent_workers=False, batch_size=1)
optim_wrapper = dict(type='OptimWrapper')
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_optimizer=False))
load_from = None
custom_hooks = []
"""

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

CITYSCAPES = """
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
crop = dict(type='RandomCrop', crop_size=(96, 128))
train_dataloader = dict(dataset=dict(pipeline=[*load, crop, dict(type='PackSegInputs')]), **loader)
train_dataloader.update(batch_size=2)
small = dict(type='Resize', scale=(128, 64), keep_ratio=True)
val_dataloader = dict(dataset=dict(
    pipeline=[load[0], small, load[1], dict(type='PackSegInputs')], indices=1), **loader)
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=(96, 128)),
    decode_head=dict(norm_cfg=dict(type='BN')), auxiliary_head=dict(norm_cfg=dict(type='BN')))
train_cfg = dict(max_iters=1, val_interval=2)
"""

NUSCENES = """
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (208, 117)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (208, 117)
demo = dict(ann_file='nuscenes_infos_demo.pkl', indices=1)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **demo), **loader)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **demo), **loader)
val_dataloader = None
val_evaluator = None
val_cfg = None
# The devkit's tables, which the metric itself needs, are not there; and where all six cameras of a
# frame are tested, mmdet3d joins them on CUDA.
test_evaluator = dict(
    ann_file=_base_.data_root + '/nuscenes_infos_demo.pkl', format_only=True,
    jsonfile_prefix='found')
train_cfg = dict(max_epochs=1)
"""


@pytest.fixture
def train_and_test(call_tool, tmp_path, monkeypatch):
    def run(name, settings, *test_options, **env):
        for key, value in env.items():
            monkeypatch.setenv(key, str(value))
        config = tmp_path / 'reduced.py'
        config.write_text(COMMON.format(base=str(ROOT / 'configs' / name)) + settings)
        log = call_tool('train.py', config, '--work-dir', 'run')
        (checkpoint,) = (tmp_path / 'run').glob('*_1.pth')
        return log, call_tool('test.py', config, checkpoint, '--work-dir', 'run', *test_options)

    return run


@pytest.mark.slow
def test_coco(train_and_test, shared):
    name = 'sparseformer_maskrcnn_coco.py'
    trained, tested = train_and_test(name, COCO, COCO_ROOT=shared('data/coco'))
    assert 'loss_mask' in trained
    assert 'loss: nan' not in trained
    assert 'coco/segm_mAP' in tested


@pytest.mark.slow
def test_cityscapes(train_and_test, shared):
    name = 'sparseformer_upernet_cityscapes.py'
    trained, tested = train_and_test(name, CITYSCAPES, CITYSCAPES_ROOT=shared('data/cityscapes'))
    assert 'decode.loss_ce' in trained
    assert 'loss: nan' not in trained
    assert 'mIoU' in tested


@pytest.mark.slow
def test_nuscenes(train_and_test, shared, tmp_path):
    name = 'sparseformer_fcos3d_nuscenes.py'
    trained, _ = train_and_test(
        *(name, NUSCENES, '--out', 'found.pkl'), NUSCENES_ROOT=shared('data/nuscenes')
    )
    assert 'loss_depth' in trained
    assert 'loss: nan' not in trained
    (found,) = pickle.loads((tmp_path / 'found.pkl').read_bytes())
    assert found['pred_instances_3d']['bboxes_3d'].tensor.shape[-1] == 9
