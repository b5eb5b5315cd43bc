"""Regions of interest of latent tokens: their adjustment, and the sampling points in them.

The geometry of SparseFormer (Gao et al., ICLR 2024, section 3.2) in pure functions. A RoI is a box
in relative coordinates, [0, 1] over the image, as ``(lower corner, upper corner)``: in an image
``(x1, y1, x2, y2)``, in a clip ``(x1, y1, t1, x2, y2, t2)``; functions that move boxes and place
points work in any number of dimensions ``D``. Coordinates are float32 (or float64 for float64
models), also with autocast and in half precision, which has too few digits for them.
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


def clip_rois(rois: Tensor, replicates: int) -> Tensor:
    """Copies boxes of an image along time; each copy covers its part of the clip.

    Args:
        rois: ``(N, 4)``.
        replicates: Number of copies ``R``.

    Returns:
        ``(R * N, 6)``; copy ``i`` lies on ``[i / R, (i + 1) / R]`` of the clip.
    """
    ends = torch.arange(replicates + 1, dtype=rois.dtype, device=rois.device) / replicates
    start = ends[:-1].repeat_interleave(len(rois)).unsqueeze(-1)  # (R * N, 1)
    end = ends[1:].repeat_interleave(len(rois)).unsqueeze(-1)
    low, high = rois.repeat(replicates, 1).chunk(2, dim=-1)  # (R * N, 2) each
    return torch.cat([low, start, high, end], dim=-1)


def time_offsets(count: int) -> Tensor:
    """Spreads sampling points over the time of their box: ``(count,)``, without unit.

    The times are those of Chebyshev's nodes: after division by three standard deviations, all of
    them are inside the box for any count (the outermost at 0.47 of its length from the middle), and
    every frame is sampled if the box has up to two thirds as many frames as points. Points that are
    neighbours in the image sample different times. Their standard deviation is more than twice that
    of x, so an optimizer step moves them by less.
    """
    nodes = torch.sin(math.pi * ((torch.arange(count) + 0.5) / count - 0.5))
    # Multiples of the golden ratio modulo 1 are evenly distributed and far from their neighbours.
    jumps = torch.arange(count, dtype=torch.float64) * (math.sqrt(5) - 1) / 2 % 1
    return nodes[jumps.argsort().argsort()]


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
    # Both limits are far beyond any useful box; they only keep it finite.
    return torch.cat([centre - half, centre + half], dim=-1).clamp(-FAR, FAR)


def sampling_points(rois: Tensor, offsets: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Places sampling points in their boxes.

    Each token's offsets are normalised, so that the standard deviation of its points is a third of
    the box's size (SparseFormer, equation 3).

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


def hold_ends(points: Tensor, frames: int) -> Tensor:
    """Moves sampling points so that zero padding begins at the ends of the clip.

    A frame is at the middle of its time range, so a sample between that middle and the end of the
    clip would be interpolated with the zeros outside. A clip of one frame would be attenuated
    everywhere but at 0.5.

    Args:
        points: ``(B, N, P, 3)``, (x, y, t) in [0, 1].
        frames: Of the clip.

    Returns:
        The points, moved in time.
    """
    time = points[..., 2:]
    half = 0.5 / frames
    time = time + (time.clamp(half, 1 - half) - time.clamp(0, 1))
    return torch.cat([points[..., :2], time], dim=-1)


def sample_features(
    features: Tensor,
    points: Tensor,
    padding: str = 'zeros',
    clamp: bool = True,
    loss_scale: Tensor | None = None,
) -> Tensor:
    """Samples a feature map at points by bilinear interpolation (trilinear in clips).

    The gradient of the coordinates is clamped, because a sample depends only on the neighbouring
    pixels (SparseFormer, section 3.2): to one over the map's height, and that of time to one over
    the number of frames.

    Args:
        features: ``(B, C, H, W)``; of a clip ``(B, C, T, H, W)``.
        points: ``(B, N, P, 2)``, (x, y) in [0, 1], float32 or float64; of a clip ``(B, N, P, 3)``,
            (x, y, t).
        padding: Padding mode: ``'zeros'`` or ``'border'``.
        clamp: Whether to clamp the gradient of the coordinates.
        loss_scale: What mixed precision multiplies the loss by, and so the bound; None for 1.

    Returns:
        ``(B, N, P, C)`` in the features' dtype, computed in float32 at least.
    """
    in_clip = features.dim() == 5
    if clamp:
        pixel = 1 / features.shape[-2]
        bound = (pixel, pixel, 1 / features.shape[2]) if in_clip else pixel
        points = clamp_gradient(points, bound, loss_scale)
    grid = points * 2 - 1
    if in_clip:
        grid = grid.unsqueeze(3)  # (B, N, P, 1, 3)
    sampled = F.grid_sample(
        features.to(points.dtype), grid, padding_mode=padding, align_corners=False
    )  # (B, C, N, P), of a clip (B, C, N, P, 1)
    if in_clip:
        sampled = sampled.squeeze(-1)
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
