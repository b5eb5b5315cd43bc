from sparse_mm.models.backbones.bootstrapped_sparse_former import BootstrappedSparseFormer
from sparse_mm.models.backbones.sparse_former import SparseFormer
from sparse_mm.models.backbones.sparse_vit import SparseViT
from sparse_mm.models.backbones.sparse_vit_v2 import SparseViTV2
from sparse_mm.models.backbones.video_sparse_former import VideoSparseFormer

__all__ = [
    'BootstrappedSparseFormer',
    'SparseFormer',
    'SparseViT',
    'SparseViTV2',
    'VideoSparseFormer',
]
