"""Regions of interest of latent tokens: how they move, and where in an image they look.

The geometry of SparseFormer (Gao et al., ICLR 2024, section 3.2) in pure functions. A RoI is a box
in relative coordinates, [0, 1] over the image, as ``(lower corner, upper corner)``: in an image
``(x1, y1, x2, y2)``, in a clip ``(x1, y1, t1, x2, y2, t2)``; all functions but the sampling work in
any number of dimensions ``D``. Coordinates are float32, whatever autocast says and whatever dtype
the model has: half precision has too few digits for them. Only float64 stays float64.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_mm.models.layers.loss_scale import clamp_gradient
from sparse_mm.models.layers.precision import at_least_float32

FAR = 1e4


def grid_cells(count: int) -> Tensor:
    """Lays out cells in rows that are as square as can be, for any number.

    Returns:
        ``(count, 2)``: for each cell its (column, row), both in [0, 1] from first to last; a single
        column or row lies at 0.5.
    """
    rows = max(1, round(math.sqrt(count)))
    sizes = [count // rows + (row < count % rows) for row in range(rows)]

    def positions(length: int) -> list[float]:
        return [0.5] if length == 1 else [i / (length - 1) for i in range(length)]

    return torch.tensor(
        [(x, y) for y, n in zip(positions(rows), sizes, strict=True) for x in positions(n)]
    )


def grid_rois(count: int, side: float = 0.5) -> Tensor:
    """Boxes of a given side, spread evenly so that they cover the image: ``(count, 4)``."""
    corner = grid_cells(count) * (1 - side)
    return torch.cat([corner, corner + side], dim=-1)


def grid_offsets(count: int) -> Tensor:
    """Sampling points spread evenly over a box: ``(count, 2)``, relative to its centre and size."""
    rows = max(1, round(math.sqrt(count)))
    columns = -(-count // rows)
    inset = torch.tensor([1 / columns, 1 / rows])
    return (grid_cells(count) - 0.5) * (1 - inset)


def adjust_rois(rois: Tensor, deltas: Tensor) -> Tensor:
    """Moves and resizes boxes (SparseFormer, equation 4).

    Args:
        rois: ``(..., 2D)``.
        deltas: ``(..., 2D)``: centre shifts in units of the box's size, then logarithms of growth.

    Returns:
        The new boxes, float32 (float64 for float64).
    """
    low, high = at_least_float32(rois).chunk(2, dim=-1)
    shift, growth = at_least_float32(deltas).chunk(2, dim=-1)
    size = (high - low).abs()
    centre = (low + high) / 2 + shift * size
    half = size * growth.clamp(-20, 20).exp() / 2
    # Both limits are far beyond any useful box; they keep it finite wherever training goes.
    return torch.cat([centre - half, centre + half], dim=-1).clamp(-FAR, FAR)


def sampling_points(rois: Tensor, offsets: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Places sampling points in their boxes.

    Each token's offsets are normalised, so that its points have a third of the box's size as
    standard deviation, wherever and however large the token wants them (SparseFormer, equation 3).

    Args:
        rois: ``(B, N, 2D)``.
        offsets: ``(B, N, P, D)``.
        epsilon: Added to the standard deviation.

    Returns:
        ``(B, N, P, D)`` in the boxes' coordinates, float32 (float64 for float64).
    """
    rois, offsets = at_least_float32(rois), at_least_float32(offsets)
    low, high = rois.unsqueeze(2).chunk(2, dim=-1)  # (B, N, 1, D) each
    centred = offsets - offsets.mean(2, keepdim=True)
    if offsets.shape[2] > 1:  # a single point lies at the centre
        centred = centred / (3 * (offsets.std(2, keepdim=True) + epsilon))
    return (low + high) / 2 + centred * (high - low)


def sample_features(
    features: Tensor,
    points: Tensor,
    padding: str = 'zeros',
    clamp: bool = True,
    loss_scale: Tensor | None = None,
) -> Tensor:
    """Reads a feature map at points, bilinearly.

    The gradient of the coordinates is clamped to one over the map's height, since a bilinear
    sample knows its surroundings no further than a pixel (SparseFormer, section 3.2).

    Args:
        features: ``(B, C, H, W)``.
        points: ``(B, N, P, 2)``, (x, y) in [0, 1], float32 or float64.
        padding: What lies outside: ``'zeros'`` or ``'border'``.
        clamp: Whether to clamp the gradient of the coordinates.
        loss_scale: What mixed precision multiplies the loss by, and so the bound; None for 1.

    Returns:
        ``(B, N, P, C)`` in the features' dtype, computed in float32 at least.
    """
    if clamp:
        points = clamp_gradient(points, 1 / features.shape[-2], loss_scale)
    sampled = F.grid_sample(
        features.to(points.dtype), points * 2 - 1, padding_mode=padding, align_corners=False
    )  # (B, C, N, P)
    return sampled.to(features.dtype).permute(0, 2, 3, 1)


def encode_rois(rois: Tensor, dim: int, max_frequency: float = 128.0) -> Tensor:
    """Sines and cosines of a RoI's coordinates (Gao et al., CVPR 2024).

    Args:
        rois: ``(B, N, 2D)``.
        dim: Channels ``C`` of the code, a multiple of the number of coordinates.
        max_frequency: Half periods over the image of the finest wave; the coarsest has one.

    Returns:
        ``(B, N, C)``, float32 (float64 for float64), without a gradient.
    """
    with torch.no_grad():
        rois = at_least_float32(rois)
        count = dim // rois.shape[-1]
        exponents = torch.linspace(
            0, math.log(max_frequency), count, dtype=rois.dtype, device=rois.device
        )
        angles = rois.unsqueeze(-1) * math.pi * exponents.exp()  # (B, N, 2D, count)
        return torch.cat([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(2)
