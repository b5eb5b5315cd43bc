# Mask R-CNN with SparseViT-T on COCO, dense: the row "Swin-T" of the paper's table, and the
# starting point of the sparse models.
_base_ = './_base_/swin_maskrcnn_coco.py'

model = dict(backbone=dict(type='SparseViT'))
