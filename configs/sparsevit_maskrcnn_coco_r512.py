# The dense row "Swin-T (R512)" of the paper's table: tested at 512x512.
_base_ = './sparsevit_maskrcnn_coco_dense.py'

test_size = 512
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (test_size, test_size)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
