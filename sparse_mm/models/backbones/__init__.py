from sparse_mm.models.backbones.sparse_former import SparseFormer
from sparse_mm.models.backbones.sparse_vit import SparseViT

__all__ = ['SparseFormer', 'SparseViT']
