# Mask2Former with SparseViT-L on Cityscapes, dense: the row "1024x2048" of the paper's table, and
# the starting point of the sparse models.
_base_ = './_base_/swin_mask2former_cityscapes.py'

model = dict(backbone=dict(type='SparseViT'))
