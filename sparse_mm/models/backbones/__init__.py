from sparse_mm.models.backbones.sparse_vit import SparseViT

__all__ = ['SparseViT']
