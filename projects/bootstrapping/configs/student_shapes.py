# The student of the small trial without a teacher: a quarter of its tokens, learning by labels from
# scratch, for as many steps as bootstrap_shapes.py.
_base_ = './teacher_shapes.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='BootstrappedSparseFormer',
        arch=dict(num_tokens=16, dims=(64, 128), depth=4, activation='gelu'),
        channels=32,
        num_points=16,
    )
)
max_epochs = 8
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
