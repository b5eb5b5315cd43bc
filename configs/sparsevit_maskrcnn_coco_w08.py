# The dense row "Swin-T (W0.8x)" of the paper's table: 72 channels, tested at 640x640.
_base_ = './sparsevit_maskrcnn_coco_w09.py'

width = 72
model = dict(
    backbone=dict(embed_dims=width),
    neck=dict(in_channels=[width, 2 * width, 4 * width, 8 * width]),
)
