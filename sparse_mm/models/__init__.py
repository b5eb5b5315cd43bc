from sparse_mm.models.backbones import (
    BootstrappedSparseFormer,
    SparseFormer,
    SparseViT,
    SparseViTV2,
    VideoSparseFormer,
)
from sparse_mm.models.necks import LatentToPyramid

__all__ = [
    'BootstrappedSparseFormer',
    'LatentToPyramid',
    'SparseFormer',
    'SparseViT',
    'SparseViTV2',
    'VideoSparseFormer',
]
