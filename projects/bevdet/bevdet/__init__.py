"""BEVDet: 3D detection from surround-view cameras in bird's-eye view, for mmdet3d.

Importing it registers the modules below.
"""

from projects.bevdet.bevdet.bev_encoder import LSSFPN, BEVResNet
from projects.bevdet.bevdet.detector import BEVDet
from projects.bevdet.bevdet.lift_splat import LiftSplat
from projects.bevdet.bevdet.transforms import (
    AugmentBEV,
    AugmentSurroundImages,
    LoadSurroundImages,
)
from projects.bevdet.bevdet.visualization import SurroundVisualizationHook

__all__ = [
    'LSSFPN',
    'AugmentBEV',
    'AugmentSurroundImages',
    'BEVDet',
    'BEVResNet',
    'LiftSplat',
    'LoadSurroundImages',
    'SurroundVisualizationHook',
]
