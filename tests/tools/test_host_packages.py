"""tools/train.py and tools/test.py with a small SparseViT in each host package's own models."""

import json

import cv2
import numpy as np
import pytest

COMMON = """
custom_imports = dict(imports=['sparse_mm'])
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1), visualization=dict(type={visualization!r}))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))
default_scope = {scope!r}
visualizer = dict(type={visualizer!r}, vis_backends=[dict(type='LocalVisBackend')])
backbone = dict(
    type='SparseViT', embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8),
    pruning_ratios=[.5, .5, 0, 0])
"""

MMPRETRAIN = """
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', num_classes=2, mean=[127.0] * 3, std=[50.0] * 3),
    backbone=dict(**backbone, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=128))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=64), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='classes', pipeline=pipeline))
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='classes', pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator
"""

MMSEG = """
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[127.0] * 3, std=[50.0] * 3, size=(64, 96)),
    backbone=backbone,
    decode_head=dict(
        type='FCNHead', in_channels=128, in_index=3, channels=16, num_convs=1, num_classes=2,
        norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
            dict(type='PackSegInputs')]
loader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset', data_root='pictures', metainfo=dict(
            classes=('ground', 'thing'), palette=[[0, 0, 0], [255, 0, 0]]),
        data_prefix=dict(img_path='images', seg_map_path='labels'), pipeline=pipeline))
train_dataloader = loader
val_dataloader = dict(loader, batch_size=1)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
"""

MMDET3D = """
_base_ = 'mmdet3d::fcos3d/fcos3d_r101-caffe-dcn_fpn_head-gn_8xb2-1x_nus-mono3d.py'
custom_imports = dict(imports=['sparse_mm'])
root = {root!r}
model = dict(
    backbone=dict(
        _delete_=True, type='SparseViT', embed_dims=16, num_heads=(1, 2, 4, 8),
        depths=(2, 2, 2, 2), pruning_ratios=[.5, .5, 0, 0]),
    neck=dict(in_channels=[16, 32, 64, 128]))
train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(type='Resize3D', scale=(208, 117), keep_ratio=True)
train_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(
        data_root=root, ann_file='nuscenes_infos_demo.pkl', pipeline=train_pipeline))
train_cfg = dict(max_epochs=1, val_interval=5)
val_cfg = None
val_dataloader = None
val_evaluator = None
default_hooks = dict(logger=dict(interval=1))
"""


def search(call_tool, folder, metric, *options):
    call_tool(
        *('search.py', 'config.py', 'run/epoch_1.pth', '--work-dir', 'run', '--budget', 'macs=0.9'),
        *('--evaluations', 2, '--population', 2, '--num-images', 2, '--latency-seconds', 0.2),
        *options,
    )
    best = json.loads((folder / 'run' / 'sparsity_search' / 'best.json').read_text())
    assert best['metric'] == metric
    return best


@pytest.mark.slow
def test_mmpretrain(tmp_path, run_tool, call_tool):
    for name in ('cat', 'dog'):
        (tmp_path / 'classes' / name).mkdir(parents=True)
        for number in range(2):
            picture = np.random.default_rng(number).integers(0, 255, (80, 90, 3), np.uint8)
            cv2.imwrite(str(tmp_path / 'classes' / name / f'{number}.png'), picture)
    common = COMMON.format(
        scope='mmpretrain', visualization='VisualizationHook', visualizer='UniversalVisualizer'
    )
    (tmp_path / 'config.py').write_text(common + MMPRETRAIN)
    run_tool('train.py', 'config.py', '--work-dir', 'run')
    found = run_tool(
        *('test.py', 'config.py', 'run/epoch_1.pth', '--work-dir', 'run'),
        *('--out', 'found.pkl', '--show-dir', 'drawn'),
    )
    assert 'accuracy/top1' in found.stdout
    found = run_tool('test.py', 'config.py', 'run/epoch_1.pth', '--work-dir', 'run', '--tta')
    assert 'accuracy/top1' in found.stdout
    assert (tmp_path / 'found.pkl').is_file()
    assert list((tmp_path / 'drawn').rglob('*.png'))
    search(call_tool, tmp_path, 'accuracy/top1')


@pytest.mark.slow
def test_mmseg(tmp_path, run_tool, call_tool):
    for folder in ('images', 'labels'):
        (tmp_path / 'pictures' / folder).mkdir(parents=True)
    for number in range(2):
        rng = np.random.default_rng(number)
        picture = rng.integers(0, 255, (64, 96, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'pictures' / 'images' / f'{number}.jpg'), picture)
        label = rng.integers(0, 2, (64, 96), np.uint8)
        cv2.imwrite(str(tmp_path / 'pictures' / 'labels' / f'{number}.png'), label)
    common = COMMON.format(
        scope='mmseg', visualization='SegVisualizationHook', visualizer='SegLocalVisualizer'
    )
    (tmp_path / 'config.py').write_text(common + MMSEG)
    run_tool('train.py', 'config.py', '--work-dir', 'run')
    found = run_tool(
        *('test.py', 'config.py', 'run/epoch_1.pth', '--work-dir', 'run'),
        *('--out', 'maps', '--show-dir', 'drawn'),
    )
    assert 'mIoU' in found.stdout
    assert len(list((tmp_path / 'maps').glob('*.png'))) == 2
    assert list((tmp_path / 'drawn').rglob('*.png'))
    best = search(call_tool, tmp_path, 'mIoU', '--image-size', '64', '96', '--batch', '2')
    assert best['score'] != round(best['score'], 2)  # mmseg's own metric rounds


@pytest.mark.slow
def test_mmdet3d(tmp_path, run_tool, shared):
    pytest.importorskip('mmdet3d', reason='needs mmdet3d')
    (tmp_path / 'config.py').write_text(MMDET3D.format(root=str(shared('data/nuscenes'))))
    log = run_tool('train.py', 'config.py', '--work-dir', 'run').stdout
    assert 'loss_depth' in log
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
