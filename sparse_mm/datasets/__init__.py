from typing import Any

from mmengine.registry import DATASETS

from sparse_mm.datasets.shape_pictures import ShapePictures
from sparse_mm.datasets.shapes import ShapesDataset

__all__ = ['ShapePictures', 'ShapesDataset']


@DATASETS.register_module(name='DrivingDataset')
def _driving_dataset(**kwargs: Any) -> Any:
    """Builds the data set that needs mmdet3d, which is slow to import and may be missing."""
    from sparse_mm.datasets.driving import DrivingDataset

    return DrivingDataset(**kwargs)
