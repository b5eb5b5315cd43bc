from sparse_mm.datasets.shapes import ShapesDataset

__all__ = ['ShapesDataset']
