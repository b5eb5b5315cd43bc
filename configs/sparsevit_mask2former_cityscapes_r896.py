# The dense row "896x1792" of the paper's table: tested at that size, scored at full size.
_base_ = './sparsevit_mask2former_cityscapes_dense.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (1792, 896)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
