"""Where ``DrivingDataset`` went, for configs that import ``sparse_mm`` alone.

Goes with the next release; ``projects.bevdet.driving`` in ``custom_imports`` is the way.
"""

import sys
from importlib import import_module
from pathlib import Path

from mmengine.registry import DATASETS

from sparse_mm.deferred import DeferredClass
from sparse_mm.errors import BadInputError

CHECKOUT = Path(__file__).resolve().parents[2]


class _InProjects(DeferredClass):
    def load(self) -> type:
        """Imports the class from the checkout's projects."""
        if (CHECKOUT / 'projects' / 'bevdet').is_dir() and str(CHECKOUT) not in sys.path:
            sys.path.append(str(CHECKOUT))
        try:
            import_module('projects.bevdet')
        except ModuleNotFoundError as error:
            raise BadInputError(
                f'{self.__name__} has moved to projects/bevdet of the checkout, which cannot be '
                "imported here: put the checkout's folder into PYTHONPATH, and "
                "'projects.bevdet.driving' into custom_imports."
            ) from error
        return super().load()


DrivingDataset = _InProjects('projects.bevdet.driving.dataset', 'DrivingDataset')
DATASETS.register_module(name='DrivingDataset', module=DrivingDataset)
