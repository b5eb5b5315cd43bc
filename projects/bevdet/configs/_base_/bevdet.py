# BEVDet-Tiny with SparseViT (dense unless ratios are set): Swin-T's stages 3 and 4 joined at stride
# 16, 59 depth bins, 64 channels on a ground of 128x128 cells, CenterPoint's head.
_base_ = './surround_nuscenes.py'

ground = _base_.ground
cell = 0.8
tasks = [
    ['car'],
    ['truck', 'construction_vehicle'],
    ['bus', 'trailer'],
    ['barrier'],
    ['motorcycle', 'bicycle'],
    ['pedestrian', 'traffic_cone'],
]
width = 96

model = dict(
    type='BEVDet',
    data_preprocessor=dict(
        type='Det3DDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='SparseViT',
        embed_dims=width,
        out_indices=(2, 3),
        convert_weights=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
            'swin_tiny_patch4_window7_224.pth',
        ),
    ),
    neck=dict(type='LSSFPN', in_channels=(4 * width, 8 * width), out_channels=512),
    view_transform=dict(
        type='LiftSplat',
        in_channels=512,
        out_channels=64,
        stride=16,
        depth=(1.0, 60.0, 1.0),
        grid=[(-51.2, 51.2, cell), (-51.2, 51.2, cell), (-10.0, 10.0, 20.0)],
    ),
    bev_backbone=dict(
        type='BEVResNet',
        in_channels=64,
        channels=(128, 256, 512),
        depths=(2, 2, 2),
        out_indices=(0, 2),
    ),
    bev_neck=dict(type='LSSFPN', in_channels=(128, 512), out_channels=256, upsample=2),
    bbox_head=dict(
        type='CenterHead',
        in_channels=256,
        tasks=[dict(num_class=len(names), class_names=names) for names in tasks],
        common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2)),
        share_conv_channel=64,
        bbox_coder=dict(
            type='CenterPointBBoxCoder',
            pc_range=ground[:2],
            post_center_range=[-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
            max_num=500,
            score_threshold=0.1,
            out_size_factor=1,
            voxel_size=[cell, cell],
            code_size=9,
        ),
        separate_head=dict(type='SeparateHead', init_bias=-2.19, final_kernel=3),
        loss_cls=dict(type='mmdet.GaussianFocalLoss', reduction='mean'),
        loss_bbox=dict(type='mmdet.L1Loss', reduction='mean', loss_weight=0.25),
        norm_bbox=True,
    ),
    train_cfg=dict(
        point_cloud_range=ground,
        grid_size=[128, 128, 1],
        voxel_size=[cell, cell, 8],
        out_size_factor=1,
        dense_reg=1,
        gaussian_overlap=0.1,
        max_objs=500,
        min_radius=2,
        code_weights=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2],
    ),
    test_cfg=dict(
        post_center_limit_range=[-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
        score_threshold=0.1,
        nms_type='rotate',
        nms_thr=0.2,
        pre_max_size=1000,
        post_max_size=83,
    ),
)
