# Tokens that focus, without a data set. Small objects, about a sixtieth of the picture, carry the
# class, and 36 sampling points are so few that hardly one lies on them at the start. Training
# pictures have larger shapes, too, which are easier to find. RoIs learn at a fifth of the learning
# rate; at the whole rate they shrink before they have learnt to move.
# tools/analysis_tools/focus_share.py tells the share of sampling points that lie on the objects.
_base_ = './sparseformer_shapes.py'

model = dict(
    backbone=dict(
        arch=dict(num_tokens=4, dims=(96, 192), depth=3, drop_path_rate=0.0), num_points=9
    ),
)
train_dataloader = dict(dataset=dict(num_images=4000, radii=(0.07, 0.3)))
val_dataloader = dict(dataset=dict(radii=(0.07, 0.11)))
test_dataloader = val_dataloader
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'sampler': dict(lr_mult=0.2)}))

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
