# The whole method on Cityscapes in one run: a dense Swin-L Mask2Former is adapted to sparsity, the
# best ratios within the latency budget are searched, and the rest of the training finetunes them.
#
# The paper gives no schedule for Cityscapes. This one keeps COCO's proportions: the finetuning is
# as long as the dense training (90 000 iterations), the adaptation a third of it, both at a tenth
# of its learning rate.
#
# Latency is the backbone's (1024x2048, batch 4) on the device that trains; for another device,
# measure there with tools/analysis_tools/latency_table.py and set the hook's latency_table.
_base_ = './sparsevit_mask2former_cityscapes_dense.py'

# The dense model to start from: any mmseg checkpoint of Mask2Former with Swin-L.
load_from = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/mask2former/'
    'mask2former_swin-l-in22k-384x384-pre_8xb2-90k_cityscapes-512x1024/'
    'mask2former_swin-l-in22k-384x384-pre_8xb2-90k_cityscapes-512x1024_20221202_141901-28ad20f1.pth'
)
model = dict(backbone=dict(init_cfg=None))

adapt_iters = 30000
finetune_iters = 90000
max_iters = adapt_iters + finetune_iters
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        # As on COCO, after 27 and 33 of 36 parts of the finetuning.
        milestones=[
            adapt_iters + 27 * finetune_iters // 36,
            adapt_iters + 33 * finetune_iters // 36,
        ],
        gamma=0.1,
    ),
]
custom_hooks = [
    dict(type='SparsityAdaptationHook', by_epoch=False, end=adapt_iters),
    dict(
        type='SparsitySearchHook',
        by_epoch=False,
        at=adapt_iters,
        budget=dict(unit='latency', max=0.7),  # of the dense backbone
        metric='mIoU',
        generations=10,
        num_images=100,  # large ones; the finalists are scored on all 500
    ),
]
