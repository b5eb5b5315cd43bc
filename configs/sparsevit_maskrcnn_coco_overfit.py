# A check on real images: a reduced SparseViT overfits 8 images of COCO, from scratch. Training and
# test set are the same 8 images; dense by default, sparse with
#   --cfg-options model.backbone.pruning_ratios="[[.6,.6],[0,0],[.2,.2,.4,.4,.5,.5],[0,0]]"
_base_ = './sparsevit_maskrcnn_shapes_dense.py'

data_root = '{{$COCO_ROOT:data/coco}}'
size = 448
model = dict(
    backbone=dict(depths=[2, 2, 6, 2]),
    roi_head=dict(bbox_head=dict(num_classes=80), mask_head=dict(num_classes=80)),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(size, size), keep_ratio=False),
    dict(type='PackDetInputs'),
]
# The metric uses only these 8 images, and the annotations loaded with them.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(size, size), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
eight = dict(
    type='CocoDataset',
    data_root=data_root,
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    indices=8,
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=50,
        dataset=dict(**eight, pipeline=train_pipeline),
    )
)
val_dataloader = dict(dataset=dict(_delete_=True, **eight, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator

max_epochs = 3
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
