"""What is found before a run starts: data, cameras, checkpoint, device, folders.

Each check gives its problems as sentences, none if all is well; :func:`report` raises them all at
once, so that a user sees all problems at once.
"""

from sparse_mm.engine.checks.best import check_best
from sparse_mm.engine.checks.checkpoint import (
    check_checkpoint,
    check_checkpoint_file,
    check_part,
)
from sparse_mm.engine.checks.data import check_data
from sparse_mm.engine.checks.device import check_device, check_device_name
from sparse_mm.engine.checks.evaluators import needs_cuda
from sparse_mm.engine.checks.folders import check_no_earlier_run, check_work_dir
from sparse_mm.engine.checks.report import report
from sparse_mm.engine.checks.samples import check_categories, check_labels, check_samples
from sparse_mm.engine.checks.settings import check_settings
from sparse_mm.engine.checks.structure import check_loops, check_structure, check_types

__all__ = [
    'check_best',
    'check_categories',
    'check_checkpoint',
    'check_checkpoint_file',
    'check_data',
    'check_device',
    'check_device_name',
    'check_labels',
    'check_loops',
    'check_no_earlier_run',
    'check_part',
    'check_samples',
    'check_settings',
    'check_structure',
    'check_types',
    'check_work_dir',
    'needs_cuda',
    'report',
]
