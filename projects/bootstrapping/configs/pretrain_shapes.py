# The teacher of the small trial, first part: a Vision Transformer of 64 + 1 tokens learns which way
# each of two disks points, four classes, from scratch. Teachers are pre-trained on finer labels
# than their task's, and on more pictures, as on ImageNet-21K for ImageNet-1K.
_base_ = './student_shapes.py'

train_dataloader = dict(dataset=dict(num_images=16000, fine=True))
val_dataloader = dict(dataset=dict(fine=True))
test_dataloader = val_dataloader
model = dict(
    backbone=dict(_delete_=True, type='TeacherViT', image_size=64, patch_size=8, dim=128, depth=6),
    head=dict(num_classes=4),
)
data_preprocessor = dict(num_classes=4)
max_epochs = 2
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
