# FCOS3D with SparseViT-T on nuScenes: mmdet3d's monocular detector on an ImageNet Swin-T, with each
# camera separately at 1600x900.
#
# Dense by default; sparse with --cfg-options model.backbone.pruning_ratios=RATIOS. A search
# (tools/search.py) needs --num-images to cover the whole validation set, without which the official
# metric cannot be computed.
_base_ = [
    'mmdet3d::_base_/models/fcos3d.py',
    'mmdet3d::_base_/schedules/mmdet-schedule-1x.py',
    'mmdet3d::_base_/default_runtime.py',
    './_base_/nuscenes_mono3d.py',
]

pretrained = (
    'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
    'swin_tiny_patch4_window7_224.pth'
)
model = dict(
    backbone=dict(
        _delete_=True,
        type='SparseViT',
        drop_path_rate=0.2,
        out_indices=(1, 2, 3),
        convert_weights=True,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
    neck=dict(in_channels=[192, 384, 768], start_level=0),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
        }
    ),
    clip_grad=dict(max_norm=35, norm_type=2),
)
