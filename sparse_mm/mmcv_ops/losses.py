"""Focal losses (Lin et al., ICCV 2017)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# The smallest normal number of single precision, below which mmcv takes no logarithm.
TINY = torch.finfo(torch.float32).tiny
LOG_TINY = math.log(TINY)


def class_weights(weight: Tensor, target: Tensor) -> Tensor | float:
    """The weight of each row's class, float32 ``(N,)``; 1 without weights or without a class."""
    if not weight.numel():
        return 1.0
    known = (target >= 0) & (target < len(weight))
    return torch.where(known, weight.float()[target.clamp(0, len(weight) - 1)], 1.0)


def logarithm(logits: Tensor) -> Tensor:
    """Logarithm of the sigmoid, no smaller than that of the smallest number."""
    return F.logsigmoid(logits).clamp(min=LOG_TINY)


def own_class(target: Tensor, classes: int) -> Tensor:
    """Bool ``(N, classes)``: where each row's own class is."""
    return target[:, None] == torch.arange(classes, device=target.device)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Sigmoid focal loss, written to ``output``.

    Args:
        input: Logits ``(N, C)``.
        target: Int64 ``(N,)``; ``C`` is the background.
        weight: ``(C,)`` by class, or empty.
        output: ``(N, C)``.
        gamma: Exponent that takes easy examples back.
        alpha: Share of the positives.
    """
    logits = input.float()
    p, q = logits.sigmoid(), (-logits).sigmoid()
    positive = -alpha * q**gamma * logarithm(logits)
    negative = -(1 - alpha) * p**gamma * logarithm(-logits)
    loss = torch.where(own_class(target, input.shape[1]), positive, negative)
    scale = class_weights(weight, target)
    output.copy_(loss * scale[:, None] if isinstance(scale, Tensor) else loss)


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Derivative of each sigmoid focal loss by its logit, written to ``grad_input``."""
    logits = input.float()
    p, q = logits.sigmoid(), (-logits).sigmoid()
    positive = -alpha * q**gamma * (q - gamma * p * logarithm(logits))
    negative = -(1 - alpha) * p**gamma * (gamma * q * logarithm(-logits) - p)
    slope = torch.where(own_class(target, input.shape[1]), positive, negative)
    scale = class_weights(weight, target)
    grad_input.copy_(slope * scale[:, None] if isinstance(scale, Tensor) else slope)


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Softmax focal loss, written to ``output``.

    Args:
        input: Probabilities ``(N, C)``, after the softmax.
        target: Int64 ``(N,)``; negative ones are ignored.
        weight: ``(C,)`` by class, or empty.
        output: ``(N,)``.
        gamma: Exponent that takes easy examples back.
        alpha: A factor.
    """
    p = input.float().gather(1, target.clamp(min=0)[:, None])[:, 0]
    loss = -alpha * (1 - p) ** gamma * p.clamp(min=TINY).log() * class_weights(weight, target)
    output.copy_(torch.where(target >= 0, loss, 0.0))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of each softmax focal loss by its logits, written to ``grad_input``.

    ``buff``, ``(N,)``, gets the derivative by the logarithm of the row's own probability.
    """
    p = input.float().gather(1, target.clamp(min=0)[:, None])[:, 0]
    q = 1 - p
    slope = gamma * q ** (gamma - 1) * p * p.clamp(min=TINY).log() - q**gamma
    slope = alpha * slope * class_weights(weight, target)
    slope = torch.where(target >= 0, slope, 0.0)
    own = own_class(target, input.shape[1])
    buff.copy_(slope)
    grad_input.copy_(slope[:, None] * (own.float() - input.float()))
