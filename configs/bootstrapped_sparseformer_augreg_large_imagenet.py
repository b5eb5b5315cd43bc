# A bootstrapped SparseFormer of ViT-L/16 (AugReg) at 384x384 pixels, 48 + 1 tokens: 84.9 % top-1 in
# the paper.
_base_ = './_base_/bootstrapped_sparseformer_imagenet.py'

size = 384
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size
test_pipeline[2].crop_size = size
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(backbone=dict(arch='augreg_large'), head=dict(in_channels=1024))
