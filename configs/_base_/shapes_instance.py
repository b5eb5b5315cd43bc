# Generated scenes (sparse_mm/datasets/shapes.py), drawn on first use into data_root.
data_root = '{{$SHAPES_ROOT:data/shapes}}'
image_size = 448  # 16 windows of 7 tokens at stride 4, so that no stage needs padding

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(image_size, image_size), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(image_size, image_size), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    persistent_workers=False,  # so that a resumed run augments as the uninterrupted one
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ShapesDataset',
        num_images=1000,
        size=image_size,
        seed=0,
        ann_file=f'{data_root}/annotations/train.json',
        data_prefix=dict(img=f'{data_root}/train'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ShapesDataset',
        num_images=100,
        size=image_size,
        seed=1,
        ann_file=f'{data_root}/annotations/val.json',
        data_prefix=dict(img=f'{data_root}/val'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric', ann_file=f'{data_root}/annotations/val.json', metric=['bbox', 'segm']
)
test_evaluator = val_evaluator
