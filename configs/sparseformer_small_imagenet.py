# SparseFormer-S, 64 tokens: 82.0 % top-1 in the paper.
_base_ = './_base_/sparseformer_imagenet.py'

model = dict(backbone=dict(arch='small'), head=dict(in_channels=640))
