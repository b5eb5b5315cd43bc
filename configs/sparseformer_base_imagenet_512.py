# SparseFormer-B at 512x512 pixels with 81 tokens, finetuned from weights trained at 224x224:
# --cfg-options load_from=BASE.pth
_base_ = './sparseformer_base_imagenet_384.py'

size = 512
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = round(size / 0.875)
test_pipeline[2].crop_size = size
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
