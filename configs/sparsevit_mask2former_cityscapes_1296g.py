# The row "SparseViT 1024x2048" of the paper's table. The authors did not publish its ratios. These
# have as many MACs (1296 G) as the dense row at 896x1792, which takes about the same time in the
# paper. Finetunes weights adapted to sparsity: --cfg-options load_from=ADAPTED.pth
_base_ = './sparsevit_mask2former_cityscapes_dense.py'

model = dict(
    backbone=dict(
        pruning_ratios=[[0.6], [0], [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.3, 0.3, 0.4], [0]],
        init_cfg=None,
    )
)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
