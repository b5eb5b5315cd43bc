# Tokens that focus, without a data set. A small disk carries the class, which is where its bright
# half lies. 36 sampling points are so few that hardly two lie on it at the start, and one does not
# show the class. Training pictures have larger disks, too, which are easier to find. RoIs learn at
# a fifth of the learning rate.
# tools/analysis_tools/focus_share.py computes the share of sampling points that lie on the disks.
_base_ = './sparseformer_shapes.py'

model = dict(
    backbone=dict(
        arch=dict(num_tokens=4, dims=(96, 192), depth=3, drop_path_rate=0.0), num_points=9
    ),
)
train_dataloader = dict(
    dataset=dict(
        type='PointingPictures',
        num_images=4000,
        radii=(0.07, 0.3),
        pipeline=[dict(type='PackInputs')],  # a flip would be another class
    )
)
val_dataloader = dict(dataset=dict(type='PointingPictures', radii=(0.07, 0.11)))
test_dataloader = val_dataloader
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'sampler': dict(lr_mult=0.2)}))
