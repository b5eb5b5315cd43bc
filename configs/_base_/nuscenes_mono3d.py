# mmdet3d's monocular 3D detection on nuScenes: each of the six cameras by itself, 1600x900.
#
# One setting moves the data: the environment variable NUSCENES_ROOT (with our tools also
# `--cfg-options data_root=FOLDER`).
_base_ = ['mmdet3d::_base_/datasets/nus-mono3d.py', './sparse_mm.py']

data_root = '{{$NUSCENES_ROOT:data/nuscenes}}'
train_pipeline = _base_.train_pipeline
train_pipeline[2].type = 'Resize3D'  # mmdet's Resize would leave the 3D targets behind
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='MonoNuScenesMetric',  # joins the cameras of a frame on any device
    data_root=data_root,
    ann_file=f'{data_root}/nuscenes_infos_val.pkl',
)
test_evaluator = val_evaluator
