# mmseg's Cityscapes: crops of 512x1024 in training, whole images of 1024x2048 in test.
#
# One setting moves the data: the environment variable CITYSCAPES_ROOT (with our tools also
# `--cfg-options data_root=FOLDER`).
_base_ = 'mmseg::_base_/datasets/cityscapes.py'

data_root = '{{$CITYSCAPES_ROOT:data/cityscapes}}'
# All images have this size; said outright, so that the tools can count on it.
test_pipeline = _base_.test_pipeline
test_pipeline[1].keep_ratio = False
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
