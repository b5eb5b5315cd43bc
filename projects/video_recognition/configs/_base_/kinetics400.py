# Kinetics-400: 32 frames, every second one, 224x224; tested on 4 clips x 3 crops.
#
# One setting moves the data: the environment variable KINETICS_ROOT (with our tools also
# `--cfg-options data_root=FOLDER`). The folder holds train/ and val/ with a folder for each class,
# and label_map_k400.txt, the classes in the order of their labels. Tables are read by
# `train_dataloader.dataset.ann_file=train.csv`.
data_root = '{{$KINETICS_ROOT:data/kinetics400}}'
clip = dict(type='DecodeClips', clip_len=32, frame_interval=2)
size = 224

train_pipeline = [
    dict(random=True, **clip),
    dict(type='RandomResizedCropClips', size=size, scale=(0.2, 1.0)),
    dict(type='FlipClips'),
    dict(type='PackClips'),
]
# Validation sees one view: the middle of the video and of its frames.
val_pipeline = [
    clip,
    dict(type='ResizeClips', short_side=size),
    dict(type='CropClips', size=size),
    dict(type='PackClips'),
]
test_pipeline = [
    dict(num_clips=4, **clip),
    dict(type='ResizeClips', short_side=size),
    dict(type='CropClips', size=size, num_crops=3),
    dict(type='PackClips'),
]

videos = dict(
    type='KineticsDataset',
    data_root=data_root,
    label_file='label_map_k400.txt',
    num_classes=400,
)
train_dataloader = dict(
    batch_size=8,  # on 8 devices
    num_workers=8,
    persistent_workers=False,  # so that a resumed run augments as the uninterrupted one
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(data_prefix=dict(video='train'), pipeline=train_pipeline, **videos),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data_prefix=dict(video='val'), pipeline=val_pipeline, test_mode=True, **videos),
)
test_dataloader = dict(
    batch_size=1,  # twelve views of a video
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data_prefix=dict(video='val'), pipeline=test_pipeline, test_mode=True, **videos),
)
val_evaluator = dict(type='ClipAccuracy', topk=(1, 5))
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='ClipPreprocessor',
    num_classes=400,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
)
