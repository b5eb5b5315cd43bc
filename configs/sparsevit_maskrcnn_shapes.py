# The default config without a download: the whole method on generated scenes, on two CPU cores in
# about fourteen minutes. One epoch dense from scratch, one with random ratios, the search, one to
# finetune.
_base_ = './sparsevit_maskrcnn_shapes_dense.py'

max_epochs = 3
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
custom_hooks = [
    dict(type='SparsityAdaptationHook', begin=1, end=2),
    dict(
        type='SparsitySearchHook',
        at=2,
        budget=dict(unit='latency', max=0.7),  # of the dense backbone
        metric='coco/bbox_mAP',
        evaluations=60,
        population=10,
        parents=4,
        mutation=0.3,  # with four genes, 0.1 changes most candidates not at all
        num_images=25,
        finalists=3,
        batch=2,
        latency_seconds=30,
    ),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
