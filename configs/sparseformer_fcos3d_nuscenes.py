# FCOS3D on nuScenes from 400 latent tokens: SparseFormer-T and the pyramid neck in mmdet3d's
# monocular detector.
#
# From weights trained on ImageNet: see sparseformer_maskrcnn_coco.py.
_base_ = [
    'mmdet3d::_base_/models/fcos3d.py',
    'mmdet3d::_base_/schedules/mmdet-schedule-1x.py',
    'mmdet3d::_base_/default_runtime.py',
    './_base_/nuscenes_mono3d.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='SparseFormer',
        arch='tiny',
        num_tokens=400,
        roi_side=0.2,
        out_type='tokens',
    ),
    neck=dict(
        _delete_=True,
        type='LatentToPyramid',
        in_channels=512,
        strides=[8, 16, 32, 64, 128],
    ),
)
custom_hooks = [dict(type='LossScaleHook')]  # for --amp
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.01),
    # A decayed RoI would drift to the image's corner.
    paramwise_cfg=dict(custom_keys={'token_rois': dict(decay_mult=0.0)}),
    clip_grad=dict(max_norm=35, norm_type=2),
)
