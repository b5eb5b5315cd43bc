# The whole method on COCO in one run: a dense Swin-T Mask R-CNN is adapted to sparsity for 12
# epochs, the best ratios within the latency budget are searched, and 36 epochs finetune them.
#
# Latency is the backbone's (672x672, batch 4) on the device that trains; for another device,
# measure there with tools/analysis_tools/latency_table.py and set the hook's latency_table.
_base_ = './sparsevit_maskrcnn_coco_dense.py'

# The dense detector to start from: any mmdet checkpoint of Mask R-CNN with Swin-T.
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/swin/'
    'mask_rcnn_swin-t-p4-w7_fpn_fp16_ms-crop-3x_coco/'
    'mask_rcnn_swin-t-p4-w7_fpn_fp16_ms-crop-3x_coco_20210908_165006-90a4008c.pth'
)
model = dict(backbone=dict(init_cfg=None))

adapt_epochs = 12
finetune_epochs = 36
train_cfg = dict(max_epochs=adapt_epochs + finetune_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=adapt_epochs + finetune_epochs,
        milestones=[adapt_epochs + 27, adapt_epochs + 33],
        gamma=0.1,
    ),
]
custom_hooks = [
    dict(type='SparsityAdaptationHook', end=adapt_epochs),
    dict(
        type='SparsitySearchHook',
        at=adapt_epochs,
        budget=dict(unit='latency', max=0.7),  # of the dense backbone
        metric='coco/bbox_mAP',
        generations=10,
        num_images=500,
    ),
]
