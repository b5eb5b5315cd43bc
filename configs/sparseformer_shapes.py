# Recognition from scratch without a data set: a reduced SparseFormer classifies generated pictures
# of four shapes, in about five minutes on two CPU cores.
_base_ = './_base_/sparseformer_reduced.py'

model = dict(head=dict(num_classes=4))
data_preprocessor = dict(num_classes=4, mean=[125.0] * 3, std=[50.0] * 3, to_rgb=False)

loader = dict(batch_size=32, num_workers=1, persistent_workers=False)
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ShapePictures',
        num_images=2000,
        seed=0,
        pipeline=[
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='RandomFlip', prob=0.5, direction='vertical'),
            dict(type='PackInputs'),
        ],
    ),
    **loader,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ShapePictures',
        num_images=400,
        seed=1,
        pipeline=[dict(type='PackInputs')],
        test_mode=True,
    ),
    **loader,
)
test_dataloader = val_dataloader

max_epochs = 12
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
