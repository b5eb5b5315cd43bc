# A baseline with a single frame of the generated clips: the image model on a random frame of each
# clip in training, and on the middle one in testing. It stays near chance, 10 %.
_base_ = './_base_/motion.py'

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='SparseFormer',
        arch=dict(num_tokens=9, dims=(64, 128), depth=2, drop_path_rate=0.0),
        focusing_repeats=2,
        num_heads=4,
        num_points=24,
        feature_channels=24,
    ),
    head=dict(
        type='LinearClsHead', num_classes=10, in_channels=128, loss=dict(type='CrossEntropyLoss')
    ),
)
data_preprocessor = dict(
    type='ClsDataPreprocessor', num_classes=10, mean=[60.0] * 3, std=[60.0] * 3, to_rgb=False
)
pack = dict(type='PackClips', as_image=True)
train_dataloader = dict(dataset=dict(pipeline=[dict(type='TakeFrame', random=True), pack]))
val_dataloader = dict(dataset=dict(pipeline=[dict(type='TakeFrame'), pack]))
test_dataloader = val_dataloader
