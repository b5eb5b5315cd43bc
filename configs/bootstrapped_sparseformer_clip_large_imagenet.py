# A bootstrapped SparseFormer of CLIP's ViT-L/14 at 224x224 pixels, 63 + 1 tokens, tested zero-shot,
# with the embeddings of the class names in the file that CLIP_CLASS_EMBEDDINGS names.
_base_ = './bootstrapped_sparseformer_clip_base_imagenet.py'

model = dict(backbone=dict(arch='clip_large'), head=dict(in_channels=1024, channels=768))
