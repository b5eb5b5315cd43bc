# The small objects with a narrower backbone: 20 channels instead of 32.
_base_ = './sparsevit_maskrcnn_small_shapes_dense.py'

width = 20
model = dict(
    backbone=dict(embed_dims=width), neck=dict(in_channels=[2 * width, 4 * width, 8 * width])
)
