# A smaller model on Cityscapes, the whole method in one run from ImageNet weights: UPerNet with
# SparseViT-T trains dense for the first half of mmseg's 160 000 iterations, then adapts to
# sparsity, searches ratios within the latency budget, and finetunes them. Adaptation and finetuning
# are in the proportion of the paper's 12 and 36 epochs on COCO.
_base_ = './sparsevit_upernet_cityscapes_dense.py'

# The host's interval of 16 000 has no multiple at the iteration of the search, where a killed run
# continues.
train_cfg = dict(val_interval=10000)
default_hooks = dict(checkpoint=dict(interval=10000))
custom_hooks = [
    dict(type='SparsityAdaptationHook', by_epoch=False, begin=80000, end=100000),
    dict(
        type='SparsitySearchHook',
        by_epoch=False,
        at=100000,
        budget=dict(unit='latency', max=0.7),  # of the dense backbone
        metric='mIoU',
        generations=10,
        num_images=100,  # large ones; the finalists are scored on all 500
    ),
]
