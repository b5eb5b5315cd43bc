# The row "SparseViT 256x704, 58.6 GMACs" of the paper's table. The authors did not publish its
# ratios. These have as many MACs (58.7). Finetunes weights adapted to sparsity: --cfg-options
# load_from=ADAPTED.pth
_base_ = './bevdet_swint_256x704.py'

model = dict(
    backbone=dict(
        pruning_ratios=[[0.8, 0.8], [0.5, 0.5], [0.6, 0.6, 0.7, 0.7, 0.7, 0.7], [0.3, 0.3]]
    )
)
