"""Small configs that inherit unmodified configs of each host, with their data."""

from importlib import import_module

import cv2
import numpy as np

from sparse_mm.datasets.shapes import write_shapes

MMDET = """
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
root = 'data/'
classes = dict(classes=('disk', 'box', 'triangle', 'star'))
scale = dict(type='Resize', scale=(96, 64), keep_ratio=True)
load = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
train = [*load, scale, dict(type='PackDetInputs')]
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
test = [load[0], scale, load[1], dict(type='PackDetInputs', meta_keys=keys)]
own = dict(data_root=root, ann_file='truth.json', data_prefix=dict(img='images/'), metainfo=classes)
model = dict(
    backbone=dict(embed_dims=6, init_cfg=None), neck=dict(in_channels=[6, 12, 24, 48]),
    roi_head=dict(bbox_head=dict(num_classes=4), mask_head=dict(num_classes=4)))
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(pipeline=train, indices=4, **own))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=test, indices=4, **own))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=root + 'truth.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=3)
custom_hooks = [dict(type='EMAHook')]
"""

MMSEG = """
_base_ = 'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
scale = dict(type='Resize', scale=(96, 64), keep_ratio=True)
load = [dict(type='LoadImageFromFile'), scale, dict(type='LoadAnnotations')]
test = [*load, dict(type='PackSegInputs')]
own = dict(
    _delete_=True, type='BaseSegDataset', data_root='pictures', pipeline=test,
    metainfo=dict(classes=('ground', 'thing'), palette=[[0, 0, 0], [255, 0, 0]]),
    data_prefix=dict(img_path='images', seg_map_path='labels'))
model = dict(
    data_preprocessor=dict(size=(64, 96)), backbone=dict(embed_dims=6, init_cfg=None),
    decode_head=dict(in_channels=[6, 12, 24, 48], channels=8, num_classes=2),
    auxiliary_head=dict(in_channels=24, channels=8, num_classes=2))
train_dataloader = dict(batch_size=2, num_workers=0, dataset=own)
val_dataloader = dict(num_workers=0, dataset=own)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=2)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0), accumulative_counts=2)
"""

MMPRETRAIN = """
_base_ = 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(224, 224)), dict(type='PackInputs')]
own = dict(_delete_=True, type='CustomDataset', data_root='classes', pipeline=pipeline)
arch = dict(embed_dims=6, depths=[2, 2, 2, 2], num_heads=[3, 6, 12, 24])
data_preprocessor = dict(num_classes=2)
model = dict(
    backbone=dict(_delete_=True, type='SwinTransformer', arch=arch, img_size=224),
    head=dict(num_classes=2, in_channels=48), train_cfg=None)
train_dataloader = dict(batch_size=2, num_workers=0, dataset=own)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=own)
test_dataloader = val_dataloader
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
val_evaluator = dict(topk=1)
train_cfg = dict(max_epochs=3)
"""

MMDET3D = """
_base_ = 'mmdet3d::fcos3d/fcos3d_r101-caffe-dcn_fpn_head-gn_8xb2-1x_nus-mono3d.py'
root = 'scenes/'
model = dict(
    backbone=dict(
        _delete_=True, type='mmdet.SwinTransformer', embed_dims=6, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[12, 24, 48], out_channels=64, start_level=0),
    bbox_head=dict(
        in_channels=64, feat_channels=64, stacked_convs=1, cls_branch=(64,),
        reg_branch=((64,), (64,), (64,), (64,), ()), dir_branch=(64,), attr_branch=(64,)),
    test_cfg=dict(nms_pre=20, max_per_img=5))
pipeline = _base_.train_pipeline
pipeline[2].update(scale=(96, 64))  # what the images are
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(data_root=root, indices=4, pipeline=pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=root))
test_dataloader = val_dataloader
val_evaluator = dict(data_root=root, ann_file=root + 'nuscenes_infos_val.pkl')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=3, val_interval=3)
"""

# Each with how many hooks of its own it has.
BASES = {
    'mmdet': (MMDET, 1),
    'mmseg': (MMSEG, 0),
    'mmdet3d': (MMDET3D, 0),
    'mmpretrain': (MMPRETRAIN, 0),
}


def write_data(folder, host):
    """Writes the data that a host's base config reads."""
    rng = np.random.default_rng(0)
    if host == 'mmdet3d':
        driving = import_module('projects.bevdet.driving.dataset')
        driving.write_driving(folder / 'scenes', 1, 1, 2, (96, 64), seed=0)
        return
    if host == 'mmdet':
        write_shapes(folder / 'data' / 'truth.json', folder / 'data' / 'images', 4, 96, seed=0)
        return
    for i in range(4):
        picture = rng.integers(0, 255, (64, 96, 3), np.uint8)
        if host == 'mmpretrain':
            path = folder / 'classes' / 'ab'[i % 2] / f'{i}.png'
        else:
            path = folder / 'pictures' / 'images' / f'{i}.jpg'
            label = folder / 'pictures' / 'labels' / f'{i}.png'
            label.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(label), rng.integers(0, 2, (64, 96), np.uint8))
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)
