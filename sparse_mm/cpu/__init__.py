"""Inference on a CPU.

A backbone's pass is computed here if nothing can observe the difference (see
:mod:`sparse_mm.cpu.conditions`); otherwise the model computes it itself.
``with cpu.disabled():`` keeps all passes on the plain path.
"""

from torch import Tensor, nn

from sparse_mm.cpu.conditions import disabled
from sparse_mm.cpu.sparse_former import SparseFormersOnCPU
from sparse_mm.cpu.sparse_vit import SparseViTOnCPU
from sparse_mm.models import executors

__all__ = ['disabled', 'takes']

_EXECUTORS = (SparseViTOnCPU(), SparseFormersOnCPU())
for _executor in _EXECUTORS:
    executors.register(_executor)


def takes(model: nn.Module, images: Tensor) -> bool:
    """Whether a pass is computed here rather than by the model's own modules."""
    return any(executor.takes(model, images) for executor in _EXECUTORS)
