# Bootstrapped SparseFormers on ImageNet (Gao et al., CVPR 2024): tested with the authors' weights,
# converted by tools/model_converters/sparseformer.py, or with those of projects/bootstrapping,
# whose configs train on this recipe without labels; with labels, it finetunes. The paper's schedule
# and augmentation are not public; these are ours: 30 epochs, AdamW 5e-4 at batch 1024, crops,
# flips.
#
# One setting moves the data: the environment variable IMAGENET_ROOT (with our tools also
# `--cfg-options data_root=FOLDER`).
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/default_runtime.py',
    './sparse_mm.py',
]

data_root = '{{$IMAGENET_ROOT:data/imagenet}}'
# As timm's AugReg models want it.
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=128,  # on 8 devices
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

model = dict(
    type='ImageClassifier',
    backbone=dict(type='BootstrappedSparseFormer', arch='augreg_base'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=768),
)

max_epochs = 30
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'token_rois': dict(decay_mult=0.0),
            'backbone.blocks': dict(lr_mult=0.1),  # inherited, and tuned gently
        },
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=1,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=1024)
