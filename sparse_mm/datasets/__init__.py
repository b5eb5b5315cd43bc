"""Generated data sets. The one that needs mmdet is imported when it is used."""

from typing import Any

from mmengine.registry import DATASETS

from sparse_mm.datasets.moved import DrivingDataset
from sparse_mm.datasets.shape_pictures import PointingPairs, PointingPictures, ShapePictures
from sparse_mm.deferred import register_deferred

__all__ = ['DrivingDataset', 'PointingPairs', 'PointingPictures', 'ShapePictures', 'ShapesDataset']

register_deferred(DATASETS, 'sparse_mm.datasets.shapes', 'ShapesDataset')


def __getattr__(name: str) -> Any:
    if name == 'ShapesDataset':
        from sparse_mm.datasets.shapes import ShapesDataset

        return ShapesDataset
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
