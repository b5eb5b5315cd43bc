# VideoSparseFormer-B on Kinetics-400: 79.8 % top-1 in the paper, from ImageNet-21K.
_base_ = './video_sparseformer_tiny_kinetics400.py'

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='sparseformer_base.pth')),
    head=dict(in_channels=768),
)
