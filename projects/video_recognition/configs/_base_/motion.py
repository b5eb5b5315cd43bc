# Generated clips of ten motions, and a schedule for learning them from scratch on two CPU cores.
_base_ = './runtime.py'
custom_imports = dict(
    imports=[
        'sparse_mm',
        'projects.video_recognition.video_recognition',
        'projects.video_recognition.motion',
    ],
    allow_failed_imports=False,
)

loader = dict(batch_size=32, num_workers=1, persistent_workers=False)
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MotionClips',
        num_clips=6000,
        frames=16,
        size=48,
        seed=0,
        pipeline=[dict(type='PackClips')],
    ),
    **loader,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MotionClips',
        num_clips=500,
        frames=16,
        size=48,
        seed=1,
        pipeline=[dict(type='PackClips')],
        test_mode=True,
    ),
    **loader,
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ClipAccuracy', topk=1)
test_evaluator = val_evaluator

max_epochs = 5
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={'token_rois': dict(decay_mult=0.0)}
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2), logger=dict(interval=20))
randomness = dict(seed=0)
