"""The papers' tables, each row with its figures and a function that builds it."""

from tools.benchmarks.tables.cityscapes import CITYSCAPES
from tools.benchmarks.tables.coco import COCO
from tools.benchmarks.tables.imagenet import ABLATIONS, IMAGENET, SCALING
from tools.benchmarks.tables.kinetics import KINETICS
from tools.benchmarks.tables.nuscenes import NUSCENES
from tools.benchmarks.tables.resolutions import RESOLUTIONS, SPARSE_RESOLUTIONS
from tools.benchmarks.tables.rows import Row, Table

TABLES: dict[str, Table] = dict(
    imagenet=IMAGENET,
    scaling=SCALING,
    ablations=ABLATIONS,
    kinetics=KINETICS,
    coco=COCO,
    cityscapes=CITYSCAPES,
    nuscenes=NUSCENES,
    resolutions=RESOLUTIONS,
    sparse_resolutions=SPARSE_RESOLUTIONS,
)

__all__ = ['TABLES', 'Row', 'Table']
