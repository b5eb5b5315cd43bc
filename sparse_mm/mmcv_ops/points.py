"""Points in boxes."""

import torch
from torch import Tensor


def inside(boxes: Tensor, points: Tensor) -> Tensor:
    """Which points lie in which boxes.

    Args:
        boxes: ``(..., T, 7)`` as x, y, z of the bottom's middle, three sizes, heading.
        points: ``(..., M, 3)``.

    Returns:
        Bool ``(..., M, T)``. A point on the top or the bottom is inside, one on a side is not.
    """
    shift = points[..., :, None, :] - boxes[..., None, :, :3]  # (..., M, T, 3)
    cos, sin = boxes[..., None, :, 6].cos(), boxes[..., None, :, 6].sin()
    along = shift[..., 0] * cos + shift[..., 1] * sin
    across = shift[..., 1] * cos - shift[..., 0] * sin
    size = boxes[..., None, :, 3:6]
    height = (shift[..., 2] - size[..., 2] / 2).abs() <= size[..., 2] / 2
    return height & (along.abs() < size[..., 0] / 2) & (across.abs() < size[..., 1] / 2)


def points_in_boxes_cpu_forward(
    boxes_tensor: Tensor, pts_tensor: Tensor, pts_indices_tensor: Tensor
) -> None:
    """For ``(T, 7)`` boxes and ``(M, 3)`` points: 1 where inside, written to ``(T, M)``."""
    pts_indices_tensor.copy_(inside(boxes_tensor, pts_tensor).transpose(0, 1))


def points_in_boxes_all_forward(
    boxes_tensor: Tensor, pts_tensor: Tensor, box_idx_of_points_tensor: Tensor
) -> None:
    """For ``(B, T, 7)`` and ``(B, M, 3)``: 1 where inside, written to ``(B, M, T)``."""
    box_idx_of_points_tensor.copy_(inside(boxes_tensor, pts_tensor))


def points_in_boxes_part_forward(
    boxes_tensor: Tensor, pts_tensor: Tensor, box_idx_of_points_tensor: Tensor
) -> None:
    """For ``(B, T, 7)`` and ``(B, M, 3)``: each point's first box, or -1, written to ``(B, M)``."""
    number = torch.arange(boxes_tensor.shape[1], 0, -1, device=boxes_tensor.device)
    if not len(number):
        box_idx_of_points_tensor.fill_(-1)
        return
    first = (inside(boxes_tensor, pts_tensor) * number).amax(dim=-1)  # larger is earlier
    box_idx_of_points_tensor.copy_(torch.where(first > 0, len(number) - first, -1))
