# The default video config without a download: a small VideoSparseFormer learns generated clips
# whose class is a motion, from scratch, in minutes on two CPU cores (docs/results.md).
_base_ = './_base_/motion.py'

model = dict(
    type='ClipRecognizer',
    backbone=dict(
        type='VideoSparseFormer',
        arch=dict(num_tokens=9, dims=(64, 128), depth=2, drop_path_rate=0.0),
        replicates=4,
        focusing_repeats=2,
        num_heads=4,
        num_points=24,
        feature_channels=24,
    ),
    head=dict(
        type='LinearClsHead', num_classes=10, in_channels=128, loss=dict(type='CrossEntropyLoss')
    ),
)
data_preprocessor = dict(type='ClipPreprocessor', num_classes=10, mean=[60.0] * 3, std=[60.0] * 3)
