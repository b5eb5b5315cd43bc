# VideoSparseFormer-S on Kinetics-400: 79.1 % top-1 in the paper.
_base_ = './video_sparseformer_tiny_kinetics400.py'

model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='sparseformer_small.pth')),
    head=dict(in_channels=640),
)
