# The dense row "Swin-T (R224)" of the paper's table.
_base_ = './bevdet_swint_256x704.py'

image_size = (224, 616)
train_pipeline = _base_.train_pipeline
train_pipeline[2].size = image_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].size = image_size
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
