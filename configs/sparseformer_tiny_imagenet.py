# SparseFormer-T, 49 tokens: 81.0 % top-1 in the paper.
_base_ = './_base_/sparseformer_imagenet.py'
