import sys
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from sparse_mm.datasets.shape_pictures import ShapePictures
from sparse_mm.datasets.shapes import ShapesDataset
from sparse_mm.errors import BadInputError

__all__ = ['ShapePictures', 'ShapesDataset']


@DATASETS.register_module(name='DrivingDataset')
def _driving_dataset(**kwargs: Any) -> Any:
    """Builds the data set where it lives now, for configs that import ``sparse_mm`` alone.

    Goes with the next release; ``projects.bevdet.driving`` in ``custom_imports`` is the way.
    """
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / 'projects' / 'bevdet').is_dir() and str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    try:
        from projects.bevdet.driving.dataset import DrivingDataset
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split('.')[0] == 'projects':
            raise BadInputError(
                'DrivingDataset has moved to projects/bevdet of the checkout, which cannot be '
                "imported here: put the checkout's folder into PYTHONPATH and "
                "'projects.bevdet.driving' into custom_imports."
            ) from error
        raise
    return DrivingDataset(**kwargs)
