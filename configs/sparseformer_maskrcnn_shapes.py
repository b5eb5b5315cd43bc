# SparseFormer on the generated scenes, from scratch, on two CPU cores: the heads, the data and the
# schedule of sparsevit_maskrcnn_shapes_dense.py.
_base_ = './sparsevit_maskrcnn_shapes_dense.py'

channels = 64
features = 48
width = 192
model = dict(
    backbone=dict(
        _delete_=True,
        type='SparseFormer',
        arch=dict(num_tokens=100, dims=(128, width), depth=3, drop_path_rate=0.0),
        num_heads=8,
        focusing_repeats=3,
        num_points=16,
        roi_side=0.2,
        feature_channels=features,
        out_type='tokens',
    ),
    neck=dict(
        _delete_=True,
        type='LatentToPyramid',
        in_channels=width,
        feature_channels=features,
        out_channels=channels,
        strides=[8, 16, 32],
    ),
)
custom_hooks = [dict(type='LossScaleHook')]  # for --amp
# Weight decay would move RoIs to the corner of the image.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'token_rois': dict(lr_mult=0.4, decay_mult=0.0)})
)
