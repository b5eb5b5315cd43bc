# The dense row "Swin-T (R576)" of the paper's table: tested at 576x576.
_base_ = './sparsevit_maskrcnn_coco_dense.py'

test_size = 576
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (test_size, test_size)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
