# BEVDet-Tiny on nuScenes, dense: the row "Swin-T" of the paper's table, and the starting point of
# the sparse models. BEVDet's recipe: 20 epochs of class-balanced sampling, AdamW 2e-4 at batch 64,
# and averaged weights (EMA) in validation (without them results are 2-3 points lower).
_base_ = [
    'mmdet3d::_base_/default_runtime.py',
    '../../../configs/_base_/sparse_mm.py',
    './_base_/bevdet.py',
]
custom_imports = dict(imports=['sparse_mm', 'projects.bevdet.bevdet'])

max_epochs = 20
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.01),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[max_epochs]),
]
auto_scale_lr = dict(enable=False, base_batch_size=64)
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='mmdet.ExpMomentumEMA',
        momentum=0.001,
        gamma=2000,
        priority='ABOVE_NORMAL',
    )
]
default_hooks = dict(
    checkpoint=dict(interval=1),
    visualization=dict(type='SurroundVisualizationHook'),  # tools/test.py … --show-dir FOLDER
)
