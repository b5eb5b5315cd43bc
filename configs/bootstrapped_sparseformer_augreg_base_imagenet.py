# A bootstrapped SparseFormer of ViT-B/16 (AugReg) at 224x224 pixels, 48 + 1 tokens.
_base_ = './_base_/bootstrapped_sparseformer_imagenet.py'
