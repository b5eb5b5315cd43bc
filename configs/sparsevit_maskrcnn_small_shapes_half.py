# The small objects at half of their resolution: anchors are halved, too.
_base_ = './sparsevit_maskrcnn_small_shapes_dense.py'

model = dict(rpn_head=dict(anchor_generator=dict(scales=[1])))
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (224, 224)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (448, 448)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
