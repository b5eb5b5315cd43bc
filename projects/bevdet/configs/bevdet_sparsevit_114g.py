# The row "SparseViT 288x792, 113.9 GMACs" of the paper's table. The authors did not publish its
# ratios. These have as many MACs (113.9). Finetunes weights adapted to sparsity: --cfg-options
# load_from=ADAPTED.pth
_base_ = './bevdet_swint_256x704.py'

image_size = (288, 792)
train_pipeline = _base_.train_pipeline
train_pipeline[2].size = image_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].size = image_size
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(
    backbone=dict(pruning_ratios=[[0.4, 0.4], [0, 0], [0.4, 0.4, 0.5, 0.5, 0.6, 0.6], [0, 0]])
)
