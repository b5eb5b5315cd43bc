# SparseFormer-B at 384x384 pixels with 81 tokens, finetuned from weights trained at 224x224:
# --cfg-options load_from=BASE.pth
_base_ = './sparseformer_base_imagenet.py'

size = 384
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = round(size / 0.875)
test_pipeline[2].crop_size = size
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 30
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=5e-5))  # for 512 images, 64 on each of 8 GPUs
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        T_max=max_epochs,
        eta_min=1e-6,
        convert_to_iter_based=True,
    )
]
