# SparseFormer-B on ImageNet-21K, to be finetuned by sparseformer_base_imagenet21k_finetune_*.py.
# The paper gives no schedule for it; this is Swin's: 90 epochs, 5 of warm-up, a learning rate of
# 1e-3 for 4096 images, so 2.5e-4 for the 1024 here.
#
# The environment variable IMAGENET21K_ROOT (or, with our tools, `--cfg-options data_root=FOLDER`)
# names the folder of the data. Its train/ contains a folder of images for each class.
_base_ = './sparseformer_base_imagenet.py'

data_root = '{{$IMAGENET21K_ROOT:data/imagenet21k}}'
num_classes = 21842
data_preprocessor = dict(num_classes=num_classes)
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(type='ImageNet21k', data_root=data_root, split='train'),
)
# There is no standard validation split, so the training reports only its loss.
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = None
test_cfg = None
test_evaluator = None

model = dict(backbone=dict(drop_path_rate=0.2), head=dict(num_classes=num_classes))

max_epochs = 90
warm_up = 5
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=warm_up,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=2.5e-6, by_epoch=True, begin=warm_up, end=max_epochs),
]
