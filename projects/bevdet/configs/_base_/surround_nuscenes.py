# nuScenes as frames of six cameras, with BEVDet's augmentation of images and of the scene.
#
# One setting moves the data: the environment variable NUSCENES_ROOT (with our tools also
# `--cfg-options data_root=FOLDER`).
data_root = '{{$NUSCENES_ROOT:data/nuscenes}}'
image_size = (256, 704)
ground = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]  # of the boxes to find, in the LiDAR frame, metres
class_names = [
    'car', 'truck', 'construction_vehicle', 'bus', 'trailer', 'barrier', 'motorcycle', 'bicycle',
    'pedestrian', 'traffic_cone',
]  # fmt: skip  # in the order of the head's tasks, as mmdet3d's CenterHead needs them
meta_keys = ('lidar2img', 'box_type_3d', 'box_mode_3d', 'sample_idx', 'img_path', 'img_shape')

train_pipeline = [
    dict(type='LoadSurroundImages', num_views=6),
    dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
    dict(
        type='AugmentSurroundImages',
        size=image_size,
        zoom=(-0.06, 0.11),
        shift=True,
        flip=0.5,
        rotate=(-5.4, 5.4),
        interpolation='bilinear',
    ),
    dict(type='AugmentBEV'),
    dict(type='ObjectRangeFilter', point_cloud_range=ground),
    dict(type='Pack3DDetInputs', keys=['img', 'gt_bboxes_3d', 'gt_labels_3d'], meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='LoadSurroundImages', num_views=6),
    dict(type='AugmentSurroundImages', size=image_size, interpolation='bilinear'),
    dict(type='Pack3DDetInputs', keys=['img'], meta_keys=meta_keys),
]

cameras = [
    'CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_FRONT_LEFT', 'CAM_BACK', 'CAM_BACK_LEFT', 'CAM_BACK_RIGHT',
]  # fmt: skip
frames = dict(
    type='NuScenesDataset',
    data_root=data_root,
    data_prefix={**{camera: f'samples/{camera}' for camera in cameras}, 'pts': 'samples/LIDAR_TOP'},
    metainfo=dict(classes=class_names),
    modality=dict(use_lidar=False, use_camera=True),
    box_type_3d='LiDAR',
)
train_dataloader = dict(
    batch_size=8,  # on 8 devices
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(  # classes that are rare in the frames are shown more often
        type='CBGSDataset',
        dataset=dict(ann_file='nuscenes_infos_train.pkl', pipeline=train_pipeline, **frames),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        ann_file='nuscenes_infos_val.pkl', pipeline=test_pipeline, test_mode=True, **frames
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='FullPrecisionNuScenesMetric',  # gives 0 for a model that finds nothing yet
    data_root=data_root,
    ann_file=f'{data_root}/nuscenes_infos_val.pkl',
    metric='bbox',
)
test_evaluator = val_evaluator
