# SparseFormer-B, 81 tokens: 82.6 % top-1 in the paper.
_base_ = './_base_/sparseformer_imagenet.py'

model = dict(backbone=dict(arch='base'), head=dict(in_channels=768))
