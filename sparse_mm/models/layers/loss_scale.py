"""Clamps a gradient to a bound that means the same with and without a loss scale.

Mixed precision multiplies the loss, and with it every gradient, by the scale of a
``torch.amp.GradScaler``; a bound on a gradient must grow with it. The scale is looked up when the
backward pass comes by, so nobody has to hand it in, as the authors' code asks of its callers.
"""

import gc
import sys
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler


class _ScalerFinder:
    """Knows the scalers of this process.

    Finding them means going through all objects. That is done again only when there can be others:
    each instance holds a reference to its class, so their number shows in the class's count.
    """

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.scalers: list[weakref.ref] = []

    def find(self) -> GradScaler | None:
        """The scaler in use, if any: one that has scaled a loss."""
        counts = [sys.getrefcount(cls) for cls in (GradScaler, *GradScaler.__subclasses__())]
        scalers = [reference() for reference in self.scalers]
        if counts != self.counts or any(scaler is None for scaler in scalers):
            # By type: isinstance would ask the objects, and some of them warn or raise.
            scalers = [item for item in gc.get_objects() if issubclass(type(item), GradScaler)]
            self.counts, self.scalers = counts, [weakref.ref(scaler) for scaler in scalers]
        in_use = (s for s in scalers if s is not None and s.is_enabled() and s._scale is not None)
        return next(in_use, None)


_finder = _ScalerFinder()


# An operator of its own, so that a compiled graph asks for the scale each time it runs.
@torch.library.custom_op('sparse_mm::clamp_scaled', mutates_args=())
def _clamp_scaled(gradient: Tensor, bound: float) -> Tensor:
    scaler = _finder.find()
    if scaler is None or scaler._scale is None:
        return gradient.clamp(-bound, bound)
    limit = scaler._scale.to(gradient) * bound
    return torch.minimum(torch.maximum(gradient, -limit), limit)


@_clamp_scaled.register_fake
def _(gradient: Tensor, bound: float) -> Tensor:
    return torch.empty_like(gradient)


class _ClampGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.bound = bound
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _clamp_scaled(gradient, ctx.bound), None


def clamp_gradient(x: Tensor, bound: float) -> Tensor:
    """Gives ``x`` unchanged; clamps the gradient that comes back to ``[-bound, bound]``.

    Args:
        x: Any tensor, float32.
        bound: Of the gradient as it is without a loss scale; that of the ``GradScaler`` in use is
            found and taken into account.
    """
    return _ClampGradient.apply(x, bound)
