# The student of the small trial without a teacher: a SparseFormer of 16 tokens learns by labels,
# from scratch, whether two disks point the same way (PointingPairs).
_base_ = '../../../configs/sparseformer_shapes.py'
custom_imports = dict(imports=['sparse_mm', 'projects.bootstrapping'])

pictures = dict(
    type='PointingPairs',
    size=64,
    radii=(0.11, 0.21),
    pipeline=[dict(type='PackInputs')],  # a flip would be another fine class
)
train_dataloader = dict(dataset=dict(num_images=4000, **pictures))
val_dataloader = dict(dataset=dict(num_images=1000, **pictures))
test_dataloader = val_dataloader
model = dict(
    backbone=dict(
        _delete_=True,
        type='BootstrappedSparseFormer',
        arch=dict(num_tokens=16, dims=(64, 128), depth=4, activation='gelu'),
        channels=32,
        num_points=16,
    ),
    head=dict(num_classes=2, in_channels=128),
)
data_preprocessor = dict(num_classes=2)
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
# So that the trial counts an epoch's last iterations, too.
default_hooks = dict(logger=dict(ignore_last=False))
