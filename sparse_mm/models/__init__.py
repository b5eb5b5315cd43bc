from sparse_mm.models.backbones import BootstrappedSparseFormer, SparseFormer, SparseViT

__all__ = ['BootstrappedSparseFormer', 'SparseFormer', 'SparseViT']
