# SparseFormer-B at 384x384 pixels with 144 tokens, finetuned from weights with as many tokens:
# --cfg-options load_from=CHECKPOINT.pth
_base_ = './sparseformer_base_imagenet_384.py'

model = dict(backbone=dict(num_tokens=144))
