# VideoSparseFormer-T on Kinetics-400 (77.9 % top-1 in the paper), from the weights of an image
# model: --cfg-options model.backbone.init_cfg.checkpoint=sparseformer_tiny.pth
#
# The authors released no recipe for video. From their image recipe: AdamW, weight decay 0.05,
# mixup and CutMix, label smoothing, drop path, gradients clipped at 5, an average of the weights.
# From what is usual for video transformers that start from images (Video Swin, CVPR 2022): 30
# epochs with 2.5 of warm-up at batch 64, learning rate 3e-4. Ours: rates that fall by 0.75 from
# layer to layer, from the head to the stem, where Video Swin gives all but the head a tenth.
_base_ = ['./_base_/runtime.py', './_base_/kinetics400.py']

model = dict(
    type='ClipRecognizer',
    backbone=dict(
        type='VideoSparseFormer',
        arch='tiny',
        replicates=8,
        init_cfg=dict(type='Pretrained', checkpoint='sparseformer_tiny.pth'),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=400,
        in_channels=512,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)

max_epochs = 30
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=3e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.75,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        # A decayed RoI would drift to the corner where the clip begins.
        custom_keys={'token_rois': dict(decay_mult=0.0)},
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=2.5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=2.5,
        end=max_epochs,
        T_max=max_epochs - 2.5,
        eta_min=1e-6,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [
    dict(type='EMAHook', momentum=1e-3, priority='ABOVE_NORMAL'),
    dict(type='LossScaleHook'),
]
