# mmdet's Mask R-CNN with Swin-T on COCO: multi-scale training with AMP, AdamW with Swin's decay
# rules, 36 epochs; tested at one size as in the authors' release.
#
# One setting moves the data: the environment variable COCO_ROOT (with our tools also
# `--cfg-options data_root=FOLDER`).
_base_ = [
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
    './sparse_mm.py',
]

data_root = '{{$COCO_ROOT:data/coco}}'
test_size = 672

# Stretched to a square, so that all maps divide into windows.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(test_size, test_size), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{data_root}/annotations/instances_val2017.json')
test_evaluator = val_evaluator
