"""The training of bootstrapped SparseFormers: a sparse student aligned with a frozen ViT.

Importing it registers the parts.
"""

from projects.bootstrapping.bootstrapping import Bootstrapping
from projects.bootstrapping.vision_transformer import TeacherViT
from projects.bootstrapping.zero_shot_head import ZeroShotHead

__all__ = ['Bootstrapping', 'TeacherViT', 'ZeroShotHead']
