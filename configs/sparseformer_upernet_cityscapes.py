# UPerNet on Cityscapes from 400 latent tokens: SparseFormer-T and the pyramid neck; mmseg's
# recipe for transformers (AdamW 6e-5).
#
# From weights trained on ImageNet: see sparseformer_maskrcnn_coco.py.
_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_80k.py',
    './_base_/cityscapes.py',
    './_base_/sparse_mm.py',
]

channels = 256
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(
        _delete_=True,
        type='SparseFormer',
        arch='tiny',
        num_tokens=400,
        roi_side=0.2,
        out_type='tokens',
    ),
    neck=dict(type='LatentToPyramid', in_channels=512, out_channels=channels),
    decode_head=dict(in_channels=[channels] * 4),
    auxiliary_head=dict(in_channels=channels),
)
custom_hooks = [dict(type='LossScaleHook')]  # for --amp
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, weight_decay=0.01),
    # A decayed RoI would drift to the image's corner.
    paramwise_cfg=dict(
        custom_keys={'token_rois': dict(decay_mult=0.0), 'norm': dict(decay_mult=0.0)}
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, end=80000, by_epoch=False),
]
