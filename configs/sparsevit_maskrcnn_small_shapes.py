# The whole method on small objects, from the converged dense detector, as the paper does: one
# epoch with random ratios, the search, one to finetune.
_base_ = './sparsevit_maskrcnn_small_shapes_dense.py'

load_from = 'work_dirs/sparsevit_maskrcnn_small_shapes_dense/epoch_8.pth'
max_epochs = 2
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
custom_hooks = [
    dict(type='SparsityAdaptationHook', begin=0, end=1),
    dict(
        type='SparsitySearchHook',
        at=1,
        budget=dict(unit='latency', max=0.5),  # of the dense backbone
        metric='coco/bbox_mAP',
        strategy='surrogate',
        evaluations=60,
        population=10,
        parents=4,
        mutation=0.3,
        num_images=25,
        finalists=3,
        batch=2,
        latency_seconds=30,
    ),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
