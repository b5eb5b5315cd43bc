# A bootstrapped SparseFormer of CLIP's ViT-B/16 at 224x224 pixels, 48 + 1 tokens, tested zero-shot,
# with the embeddings of the class names in the file that CLIP_CLASS_EMBEDDINGS names.
_base_ = './_base_/bootstrapped_sparseformer_imagenet.py'
custom_imports = dict(imports=['sparse_mm', 'projects.bootstrapping'])

data_preprocessor = dict(
    mean=[122.7709383, 116.7460125, 104.09373615], std=[68.5005327, 66.6321579, 70.32316305]
)
model = dict(
    backbone=dict(arch='clip_base'),
    head=dict(
        _delete_=True,
        type='ZeroShotHead',
        in_channels=768,
        channels=512,
        embeddings='{{$CLIP_CLASS_EMBEDDINGS:data/imagenet/clip_class_embeddings.pth}}',
    ),
)
