# What `make demo` runs: the whole method on generated scenes, in minutes on two CPU cores. Two
# short epochs dense from scratch, on small images, where most of it is learned at half the price;
# one at full size with random ratios; the search; one to finetune.
_base_ = './sparsevit_maskrcnn_shapes_dense.py'

num_scenes = 600
small = 320
# A scene has at most six objects: few proposals and detections are enough, and cost less.
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(loss_bbox=dict(loss_weight=3.0)),  # short trainings lack precision
        mask_roi_extractor=dict(roi_layer=dict(sampling_ratio=1)),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=300, max_per_img=100), rcnn=dict(sampler=dict(num=32))
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50), rcnn=dict(max_per_img=20)),
)
data_root = _base_.data_root
train_pipeline = _base_.train_pipeline
train_dataloader = dict(
    dataset=dict(
        num_images=num_scenes,
        ann_file=f'{data_root}/annotations/train_{num_scenes}.json',
        data_prefix=dict(img=f'{data_root}/train_{num_scenes}'),
        pipeline=[
            *train_pipeline[:2],
            dict(type='Resize', scale=(small, small), keep_ratio=False),
            *train_pipeline[3:],
        ],
    )
)
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
optim_wrapper = dict(optimizer=dict(fused=True))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
custom_hooks = [
    dict(type='PipelineSwitchHook', switch_epoch=2, switch_pipeline=train_pipeline),
    dict(type='SparsityAdaptationHook', begin=2, end=3),
    dict(
        type='SparsitySearchHook',
        at=3,
        budget=dict(unit='latency', max=0.7),  # of the dense backbone
        metric='coco/bbox_mAP',
        evaluations=40,
        population=8,
        parents=4,
        mutation=0.3,  # with four genes, 0.1 changes most candidates not at all
        num_images=20,
        finalists=3,
        batch=2,
        latency_seconds=20,
    ),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=4))
