# The default 3D config without a download: a small BEVDet learns generated driving scenes
# (projects/bevdet/driving, drawn on first use) from scratch, on two CPU cores in about twenty
# minutes, and is tested by nuScenes' official evaluation.
_base_ = './bevdet_swint_256x704.py'
custom_imports = dict(imports=['sparse_mm', 'projects.bevdet.bevdet', 'projects.bevdet.driving'])

data_root = '{{$DRIVING_ROOT:data/driving}}'
image_size = (112, 336)  # no stage needs padding: 28x84, 14x42 and 7x21 tokens
ground = [-32.0, -32.0, -5.0, 32.0, 32.0, 3.0]
cell = 0.8
num_cells = 80
class_names = _base_.class_names
width = 32

model = dict(
    backbone=dict(
        _delete_=True,
        type='SparseViT',
        embed_dims=width,
        depths=[2, 2, 6],
        num_heads=[1, 2, 4],
        strides=[4, 2, 2],
        drop_path_rate=0.0,
        out_indices=(1, 2),
    ),
    neck=dict(in_channels=(2 * width, 4 * width), out_channels=64),
    view_transform=dict(
        in_channels=64,
        out_channels=48,
        stride=8,
        depth=(1.0, 41.0, 1.0),
        grid=[(-32.0, 32.0, cell), (-32.0, 32.0, cell), (-10.0, 10.0, 20.0)],
    ),
    bev_backbone=dict(in_channels=48, channels=(64, 128), depths=(1, 1), out_indices=(0, 1)),
    bev_neck=dict(in_channels=(64, 128), out_channels=64),
    bbox_head=dict(
        in_channels=64,
        tasks=[dict(num_class=10, class_names=class_names)],
        share_conv_channel=48,
        separate_head=dict(init_bias=-4.6),  # few cells hold an object, and the training is short
        bbox_coder=dict(
            pc_range=ground[:2],
            post_center_range=[-40.0, -40.0, -10.0, 40.0, 40.0, 10.0],
            max_num=1000,
            score_threshold=0.01,
        ),
    ),
    train_cfg=dict(point_cloud_range=ground, grid_size=[num_cells, num_cells, 1], max_objs=100),
    test_cfg=dict(
        post_center_limit_range=[-40.0, -40.0, -10.0, 40.0, 40.0, 10.0],
        score_threshold=0.01,
        post_max_size=300,
    ),
)

train_pipeline = _base_.train_pipeline
# No mirroring: the orientation of a mirrored object would show only in fine detail, which a short
# training on small images cannot learn.
train_pipeline[2].update(size=image_size, zoom=(-0.05, 0.05), rotate=(-2.0, 2.0), flip=0.0)
train_pipeline[3].update(rotate=(-10.0, 10.0), flip=(0.0, 0.0))
train_pipeline[4].point_cloud_range = ground
test_pipeline = _base_.test_pipeline
test_pipeline[1].size = image_size
scenes = dict(_delete_=True, type='DrivingDataset', data_root=data_root)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=False,  # so that a resumed run augments as the uninterrupted one
    dataset=dict(
        **scenes,
        ann_file='nuscenes_infos_train.pkl',
        pipeline=train_pipeline,
        metainfo=dict(classes=class_names),
    ),
)
val_dataloader = dict(
    num_workers=1,
    batch_size=4,
    dataset=dict(
        **scenes,
        ann_file='nuscenes_infos_val.pkl',
        pipeline=test_pipeline,
        metainfo=dict(classes=class_names),
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(data_root=data_root, ann_file=f'{data_root}/nuscenes_infos_val.pkl')
test_evaluator = val_evaluator

max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR', by_epoch=True, begin=0, end=max_epochs, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=4)
custom_hooks = _base_.custom_hooks
custom_hooks[0].update(momentum=0.01, gamma=100)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
