# A task that needs resolution: objects of 12 to 48 pixels on a textured background, three to eight
# in a scene of 896x896, so that most windows contain none. The detector is that of the generated
# scenes, with six genes and smaller anchors. It is trained on crops with a higher density of
# objects: after 650 steps on crops with one or two objects it detected nothing. It is tested on
# whole scenes.
_base_ = './sparsevit_maskrcnn_shapes_dense.py'

data_root = '{{$SMALL_SHAPES_ROOT:data/small_shapes}}'
image_size, crop_size = 896, 448

model = dict(backbone=dict(depths=[2, 2, 6, 2]), rpn_head=dict(anchor_generator=dict(scales=[2])))

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (image_size, image_size)
train_dataloader = dict(
    dataset=dict(
        num_images=3000,
        size=crop_size,
        small_objects=(4, 8),
        ann_file=f'{data_root}/annotations/train.json',
        data_prefix=dict(img=f'{data_root}/train'),
    )
)
whole = dict(size=image_size, small_objects=(3, 8), pipeline=test_pipeline)
val_dataloader = dict(
    batch_size=2,
    dataset=dict(
        num_images=100,
        ann_file=f'{data_root}/annotations/val.json',
        data_prefix=dict(img=f'{data_root}/val'),
        **whole,
    ),
)
# Scenes that no search has seen.
test_dataloader = dict(
    batch_size=2,
    dataset=dict(
        num_images=200,
        seed=2,
        ann_file=f'{data_root}/annotations/test.json',
        data_prefix=dict(img=f'{data_root}/test'),
        **whole,
    ),
)
val_evaluator = dict(ann_file=f'{data_root}/annotations/val.json')
test_evaluator = dict(ann_file=f'{data_root}/annotations/test.json')

max_epochs = 8
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
