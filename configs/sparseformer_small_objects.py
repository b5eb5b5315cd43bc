# Tokens that focus, without a data set: small objects, about a hundredth of the picture, carry the
# class, so that the tokens must find them. tools/analysis_tools/focus_share.py tells which share of
# the sampling points lies on them, iteration after iteration.
_base_ = './sparseformer_shapes.py'

model = dict(
    backbone=dict(arch=dict(num_tokens=25, dims=(96, 192), depth=3, drop_path_rate=0.0)),
)
pictures = dict(size=128, radii=(0.06, 0.1))
train_dataloader = dict(dataset=dict(num_images=3000, **pictures))
val_dataloader = dict(dataset=pictures)
test_dataloader = val_dataloader

max_epochs = 16
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
