from sparse_mm.datasets.shape_pictures import ShapePictures
from sparse_mm.datasets.shapes import ShapesDataset

__all__ = ['ShapePictures', 'ShapesDataset']
