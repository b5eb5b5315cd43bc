# The dense row "Swin-T (W0.6x)" of the paper's table: 60 channels, tested at 640x640.
_base_ = './sparsevit_maskrcnn_coco_w09.py'

width = 60
model = dict(
    backbone=dict(embed_dims=width),
    neck=dict(in_channels=[width, 2 * width, 4 * width, 8 * width]),
)
