"""Clamps a gradient to a bound that is the same with and without a loss scale.

Mixed precision multiplies the loss, and with it every gradient, by the scale of a
``torch.amp.GradScaler``; a bound on a gradient must grow with it. Only the training loop has the
scale, and passes it to the model (see :class:`~sparse_mm.engine.hooks.LossScaleHook`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _ClampGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: Tensor) -> Tensor:
        ctx.save_for_backward(limit)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (limit,) = ctx.saved_tensors
        return gradient.clamp(-limit, limit), None


def clamp_gradient(
    x: Tensor, bound: float | Sequence[float], loss_scale: Tensor | None = None
) -> Tensor:
    """Gives ``x`` unchanged; clamps the gradient that comes back to ``[-bound, bound]``.

    Args:
        x: Any tensor, float32 or float64.
        bound: Of the gradient as it is without a loss scale; or one for each entry of the last
            dimension.
        loss_scale: What the loss is multiplied by, of no dimension; None if it is not. It is never
            copied to the host, and is read when this is called.
    """
    # torch.jit.trace is used for inference, and cannot save an autograd function of ours.
    if not torch.is_grad_enabled() or torch.jit.is_tracing():
        return x
    if isinstance(bound, Sequence):
        limit = torch.stack([x.new_full((), one) for one in bound])
    else:
        limit = x.new_full((), bound)
    if loss_scale is not None:
        limit = limit * torch.as_tensor(loss_scale).to(x)
    return _ClampGradient.apply(x, limit)


def is_float16_autocast(device: str) -> bool:
    """Whether autocast uses float16 on a type of device, so that the loss needs a scale."""
    if not torch.amp.is_autocast_available(device):
        return False
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
