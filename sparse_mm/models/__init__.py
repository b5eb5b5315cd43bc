from sparse_mm.models.backbones import SparseFormer, SparseViT

__all__ = ['SparseFormer', 'SparseViT']
