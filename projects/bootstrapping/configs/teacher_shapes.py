# The teacher of the small trial, second part: what pretrain_shapes.py has learnt is finetuned to
# the two classes of student_shapes.py, whether both disks point the same way.
#   --cfg-options model.backbone.init_cfg.checkpoint=PRETRAINED.pth
_base_ = './pretrain_shapes.py'

train_dataloader = dict(dataset=dict(num_images=2000, fine=False))
val_dataloader = dict(dataset=dict(fine=False))
test_dataloader = val_dataloader
model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pretrain_shapes/epoch_2.pth')
    ),
    head=dict(num_classes=2),
)
data_preprocessor = dict(num_classes=2)
# What was learnt is kept: the backbone learns slowly.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.02))))
max_epochs = 2
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, convert_to_iter_based=True),
]
