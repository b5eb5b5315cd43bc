# The teacher of the small trial: a Vision Transformer of 64 + 1 tokens tells generated pictures of
# four shapes apart, from scratch.
_base_ = '../../../configs/sparseformer_shapes.py'
custom_imports = dict(imports=['sparse_mm', 'projects.bootstrapping'])

width = 128
pictures = dict(size=64)
train_dataloader = dict(dataset=dict(num_images=4000, **pictures))
val_dataloader = dict(dataset=dict(num_images=1000, **pictures))
test_dataloader = val_dataloader
model = dict(
    backbone=dict(
        _delete_=True, type='TeacherViT', image_size=64, patch_size=8, dim=width, depth=6
    ),
    head=dict(in_channels=width),
)
max_epochs = 8
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
