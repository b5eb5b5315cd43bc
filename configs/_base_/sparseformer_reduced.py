# A reduced SparseFormer as a classifier, and a schedule for learning from scratch on two CPU cores.
_base_ = ['mmpretrain::_base_/default_runtime.py', './sparse_mm.py']

width = 192
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='SparseFormer',
        arch=dict(num_tokens=16, dims=(96, width), depth=3, drop_path_rate=0.0),
        num_heads=8,
        num_points=16,
        feature_channels=48,
    ),
    head=dict(type='LinearClsHead', in_channels=width),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={'token_rois': dict(decay_mult=0.0)}
    ),
    clip_grad=dict(max_norm=5.0),
)
custom_hooks = [dict(type='LossScaleHook')]  # for --amp
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
