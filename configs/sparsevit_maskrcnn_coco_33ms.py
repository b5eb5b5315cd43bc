# The authors' released setting of 33 ms (dense: 47.8; backbone, batch 4, fp32, RTX A6000).
# Finetunes weights adapted to sparsity: --cfg-options load_from=ADAPTED.pth
_base_ = './sparsevit_maskrcnn_coco_dense.py'

model = dict(
    backbone=dict(pruning_ratios=[[0.7, 0.7], [0, 0], [0.2, 0.2, 0.4, 0.4, 0.5, 0.5], [0, 0]])
)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
