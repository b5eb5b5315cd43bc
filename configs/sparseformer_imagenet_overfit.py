# A check on real images: a reduced SparseFormer overfits 100 images of ImageNet, from scratch.
# Training and test set are the same: the first 100 files of the class folders in IMAGENET_ROOT/val.
_base_ = './_base_/sparseformer_reduced.py'

data_root = '{{$IMAGENET_ROOT:data/imagenet}}'
model = dict(head=dict(num_classes=1000))
data_preprocessor = dict(
    num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)

loader = dict(
    batch_size=25,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='val',
        indices=100,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=128, edge='short'),
            dict(type='CenterCrop', crop_size=128),
            dict(type='PackInputs'),
        ],
    ),
)
train_dataloader = dict(sampler=dict(type='DefaultSampler', shuffle=True), **loader)
val_dataloader = dict(sampler=dict(type='DefaultSampler', shuffle=False), **loader)
test_dataloader = val_dataloader

max_epochs = 60
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=10)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=4))
