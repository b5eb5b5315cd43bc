# SparseFormer-B, pre-trained on ImageNet-21K, finetuned on ImageNet-1K at 384x384 pixels with 81
# tokens: 84.1 % top-1 in the paper. The weights of the backbone are those of the pre-training:
#   --cfg-options model.backbone.init_cfg.checkpoint=PRETRAINED.pth
# The head with 1000 classes is trained from scratch.
_base_ = './sparseformer_base_imagenet_384.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/sparseformer_base_imagenet21k/epoch_90.pth',
        )
    )
)
