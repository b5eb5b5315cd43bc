"""sparse_mm: high-resolution vision made cheap by computing only where it matters.

Importing it registers everything in MMEngine's root registries (``type='SparseViT'`` resolves from
every scope) and lets torch's safe unpickler read MMEngine's own checkpoints.
"""

from importlib.util import find_spec

import sparse_mm.mmcv_finder  # noqa: F401  (before anything imports mmcv)
from sparse_mm import cpu, models
from sparse_mm.checkpoints import declare_safe_classes
from sparse_mm.engine import hooks
from sparse_mm.version import __version__

declare_safe_classes()
if find_spec('mmdet'):  # the backbones alone need only mmengine and mmcv
    from sparse_mm import datasets  # noqa: F401

__all__ = ['__version__', 'cpu', 'hooks', 'models']
