# SparseFormer-B on ImageNet-1K at 384x384 pixels with 144 tokens: 84.6 % top-1 in the paper. It
# continues from the weights with 81 tokens; each token is initialised with the nearest of them:
#   --cfg-options model.backbone.init_cfg.checkpoint=FINETUNED.pth
_base_ = './sparseformer_base_imagenet21k_finetune_384.py'

model = dict(
    backbone=dict(
        num_tokens=144,
        init_cfg=dict(
            checkpoint='work_dirs/sparseformer_base_imagenet21k_finetune_384/epoch_30.pth'
        ),
    )
)
