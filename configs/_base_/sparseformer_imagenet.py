# SparseFormer's ImageNet recipe (Gao et al., ICLR 2024, section 4): 300 epochs with 20 of warm-up,
# AdamW 1e-3 at batch 1024, RandAugment, mixup, cutmix, erasing, repeated augmentation, and an
# average of the weights, which is what is validated.
#
# One setting moves the data: the environment variable IMAGENET_ROOT (with our tools also
# `--cfg-options data_root=FOLDER`).
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    'mmpretrain::_base_/default_runtime.py',
    './sparse_mm.py',
]

data_root = '{{$IMAGENET_ROOT:data/imagenet}}'
train_dataloader = dict(
    batch_size=128,  # on 8 devices
    sampler=dict(_delete_=True, type='RepeatAugSampler', num_repeats=3, shuffle=True),
    dataset=dict(data_root=data_root),
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))

model = dict(
    type='ImageClassifier',
    backbone=dict(type='SparseFormer', arch='tiny'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=512,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(
    # A decayed RoI would drift to the image's corner.
    paramwise_cfg=dict(custom_keys={'token_rois': dict(decay_mult=0.0)}),
    clip_grad=dict(max_norm=5.0),
)
custom_hooks = [
    dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL'),
    dict(type='LossScaleHook'),  # for --amp
]
