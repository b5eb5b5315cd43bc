# The dense row "Swin-T (W0.4x)" of the paper's table: 36 channels.
# No ImageNet weights of this width are published: it starts from scratch, unless
# model.backbone.init_cfg names a checkpoint of yours.
_base_ = './bevdet_swint_256x704.py'

width = 36
model = dict(
    backbone=dict(embed_dims=width, convert_weights=False, init_cfg=None),
    neck=dict(in_channels=(4 * width, 8 * width)),
)
