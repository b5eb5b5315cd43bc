# mmseg's Mask2Former with Swin-L (window 12) on Cityscapes: crops of 512x1024 in training, whole
# images of 1024x2048 in test, 90 000 iterations of 16 crops.
#
# One setting moves the data: the environment variable CITYSCAPES_ROOT (with our tools also
# `--cfg-options data_root=FOLDER`).
_base_ = [
    'mmseg::mask2former/mask2former_swin-l-in22k-384x384-pre_8xb2-90k_cityscapes-512x1024.py',
    './sparse_mm.py',
]

data_root = '{{$CITYSCAPES_ROOT:data/cityscapes}}'
# All images have this size; said outright, so that the tools can count on it.
test_pipeline = _base_.test_pipeline
test_pipeline[1].keep_ratio = False
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
