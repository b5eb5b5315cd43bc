from sparse_mm.models.backbones import SparseViT

__all__ = ['SparseViT']
