# UPerNet with SparseViT-T on Cityscapes, dense: mmseg's recipe for Swin (AdamW 6e-5, 160 000
# iterations of 16 crops of 512x1024).
_base_ = [
    'mmseg::_base_/models/upernet_swin.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_160k.py',
    './_base_/cityscapes.py',
    './_base_/sparse_mm.py',
]

pretrained = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'
    'swin_tiny_patch4_window7_224_20220317-1cdeb081.pth'
)
model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(type='SparseViT', init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
        }
    ),
)
max_iters = 160000
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, end=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
auto_scale_lr = dict(enable=False, base_batch_size=16)
