"""Small SparseViTs of three hosts: config, weights, and a picture for them."""

from pathlib import Path

import cv2
import numpy as np
import torch

from sparse_mm.engine.command_line import read_config
from sparse_mm.engine.inspection import build_model

COMMON = """
default_scope = {scope!r}
custom_imports = dict(imports=['sparse_mm'])
backbone = dict(type='SparseViT', embed_dims=8, depths=(2, 2), num_heads=(1, 2), strides=(4, 2),
                window_size=4, out_indices=(0, 1))
"""
CONFIGS = dict(
    mmdet="""
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', bgr_to_rgb=True, pad_size_divisor=32,
                           mean=[100.0] * 3, std=[50.0] * 3),
    backbone=backbone,
    neck=dict(type='FPN', in_channels=[8, 16], out_channels=8, num_outs=3),
    bbox_head=dict(
        type='RetinaHead', num_classes=3, in_channels=8, stacked_convs=1, feat_channels=8,
        anchor_generator=dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1,
                              ratios=[1.0], strides=[4, 8, 16]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[1.0] * 4)),
    test_cfg=dict(nms_pre=100, min_bbox_size=0, score_thr=0.0, max_per_img=10,
                  nms=dict(type='nms', iou_threshold=0.5)))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(100, 80), keep_ratio=True),
            dict(type='PackDetInputs',
                 meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
test_dataloader = dict(dataset=dict(type='CocoDataset', pipeline=pipeline,
                                    metainfo=dict(classes=('a', 'b', 'c'))))
""",
    mmseg="""
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', bgr_to_rgb=True, pad_val=0, seg_pad_val=255,
                           size=(64, 64), test_cfg=dict(size_divisor=16),
                           mean=[100.0] * 3, std=[50.0] * 3),
    backbone=backbone,
    decode_head=dict(type='FCNHead', in_channels=16, in_index=1, channels=8, num_classes=3,
                     num_convs=1, norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(48, 48)))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(128, 88), keep_ratio=True),
            dict(type='PackSegInputs')]
test_dataloader = dict(dataset=dict(type='BaseSegDataset', pipeline=pipeline))
""",
    mmpretrain="""
data_preprocessor = dict(num_classes=3, to_rgb=True, mean=[100.0] * 3, std=[50.0] * 3)
model = dict(type='ImageClassifier', backbone=dict(backbone, out_indices=(1,)),
             neck=dict(type='GlobalAveragePooling'),
             head=dict(type='LinearClsHead', num_classes=3, in_channels=16))
pipeline = [dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=64, edge='short'),
            dict(type='CenterCrop', crop_size=64), dict(type='PackInputs')]
test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=pipeline))
""",
)


def write_model(folder: Path, scope: str) -> tuple[str, str, str]:
    """Writes a picture, a config and its weights; gives their names."""
    config = folder / 'config.py'
    config.write_text(COMMON.format(scope=scope) + CONFIGS[scope])
    model = build_model(read_config(str(config)))
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    image = np.random.default_rng(0).integers(0, 60, (60, 90, 1), np.uint8).repeat(3, 2)
    image[10:25, 50:80] = 250  # what matters
    cv2.imwrite(str(folder / 'image.png'), image)
    return 'image.png', 'config.py', 'weights.pth'
