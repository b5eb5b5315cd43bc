# The dense row "Swin-T (W0.9x)" of the paper's table: 84 channels, tested at 640x640.
# No ImageNet weights of this width are published: it starts from scratch, unless
# model.backbone.init_cfg names a checkpoint of yours.
_base_ = './sparsevit_maskrcnn_coco_dense.py'

width = 84
model = dict(
    backbone=dict(embed_dims=width, convert_weights=False, init_cfg=None),
    neck=dict(in_channels=[width, 2 * width, 4 * width, 8 * width]),
)

test_size = 640
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (test_size, test_size)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
