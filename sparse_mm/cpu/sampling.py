"""Bilinear sampling of a map whose channels are last, by whole rows of channels.

PyTorch's ``grid_sample`` gives the channels first, so that the samples must be transposed after it.
A sum of four weighted rows of a table is what ``embedding_bag`` computes, without either
(docs/performance.md has the figures).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

PADDINGS = 'zeros', 'border'


def sample_rows(features: Tensor, grid: Tensor, padding: str = 'zeros') -> Tensor:
    """Computes ``grid_sample`` with ``align_corners=False``, in inference.

    Args:
        features: ``(B, C, H, W)``, channels last.
        grid: ``(B, N, P, 2)``, (x, y) in [-1, 1], of the same dtype.
        padding: ``'zeros'`` or ``'border'``.

    Returns:
        ``(B, C, N, P)``, channels last.
    """
    batch, channels, height, width = features.shape
    sides = grid.new_tensor((width, height))
    last = sides - 1
    at = (grid + 1) * (sides / 2) - 0.5
    # Anything beyond these is as far outside, and infinities have no fraction.
    outside = 2.0 if padding == 'zeros' else 0.0
    at = at.clamp(-outside * torch.ones_like(last), last + outside)
    low = at.floor()
    beyond = at - low
    corners = torch.stack([low, low + 1])  # (2, B, N, P, 2), as the next two
    inside = corners.clamp(torch.zeros_like(last), last).nan_to_num()
    weights = torch.stack([1 - beyond, beyond]) * (inside == corners)
    x, y = inside.long().unbind(-1)
    images = torch.arange(batch, device=grid.device).view(-1, 1, 1) * (height * width)
    rows = (y * width + images).unsqueeze(1) + x  # (2, 2, B, N, P), as their weights
    shares = weights[..., 1].unsqueeze(1) * weights[..., 0]
    sampled = F.embedding_bag(
        rows.flatten(0, 1).flatten(1).t().contiguous(),  # (B * N * P, 4)
        features.permute(0, 2, 3, 1).reshape(-1, channels),
        per_sample_weights=shares.flatten(0, 1).flatten(1).t().contiguous(),
        mode='sum',
    )  # (B * N * P, C)
    return sampled.view(*grid.shape[:3], channels).permute(0, 3, 1, 2)


class SamplingByRows(TorchFunctionMode):
    """Within it ``grid_sample`` is :func:`sample_rows` where that computes the same."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Replaces the one function."""
        if func is F.grid_sample:
            return _sample(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _sample(
    features: Tensor,
    grid: Tensor,
    mode: str = 'bilinear',
    padding_mode: str = 'zeros',
    align_corners: bool | None = None,
) -> Tensor:
    if (
        features.dim() == 4
        and features.is_contiguous(memory_format=torch.channels_last)
        and mode == 'bilinear'
        and padding_mode in PADDINGS
        and not align_corners
    ):
        return sample_rows(features, grid, padding_mode)
    return F.grid_sample(features, grid, mode, padding_mode, align_corners)
