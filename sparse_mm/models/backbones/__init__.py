from sparse_mm.models.backbones.bootstrapped_sparse_former import BootstrappedSparseFormer
from sparse_mm.models.backbones.sparse_former import SparseFormer
from sparse_mm.models.backbones.sparse_vit import SparseViT

__all__ = ['BootstrappedSparseFormer', 'SparseFormer', 'SparseViT']
