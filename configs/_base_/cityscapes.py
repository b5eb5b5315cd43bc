# mmseg's Cityscapes: crops of 512x1024 in training, whole images of 1024x2048 in test.
#
# One setting moves the data: the environment variable CITYSCAPES_ROOT (with our tools also
# `--cfg-options data_root=FOLDER`).
_base_ = 'mmseg::_base_/datasets/cityscapes.py'

data_root = '{{$CITYSCAPES_ROOT:data/cityscapes}}'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
