"""sparse_mm: backbones that compute only the parts of an image that matter.

Importing it registers everything in MMEngine's root registries (``type='SparseViT'`` resolves from
every scope) and lets torch's safe unpickler read MMEngine's own checkpoints. It does not import
mmdet, mmseg, mmdet3d or mmpretrain: classes that build on them are imported when they are used.
"""

# ruff: noqa: E402
from sparse_mm.nameless_user import name_user_by_number

name_user_by_number()  # before anything imports torchvision

import sparse_mm.mmcv_finder  # noqa: F401  (before anything imports mmcv)
from sparse_mm import cpu, datasets, deploy, evaluation, models
from sparse_mm.engine import hooks
from sparse_mm.engine.published_configs import know_our_name
from sparse_mm.safe_classes import MMENGINE_DECLARES, declare_safe_classes
from sparse_mm.version import __version__

know_our_name()
if not MMENGINE_DECLARES:
    declare_safe_classes()

__all__ = ['__version__', 'cpu', 'datasets', 'deploy', 'evaluation', 'hooks', 'models']
