"""Upright boxes: NMS, NMS in groups, and IoU."""

import numpy as np
import torch
import torchvision  # noqa: F401  (its import registers torch.ops.torchvision)
from torch import Tensor

# Pairs of boxes compared at once: what stays in a processor's cache.
PAIRS = 1 << 15


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy NMS.

    Args:
        boxes: ``(N, 4)`` as x1, y1, x2, y2.
        scores: ``(N,)``.
        iou_threshold: A box that overlaps a better one by more is removed.
        offset: 1 where a box's width is ``x2 - x1 + 1``.

    Returns:
        Int64 indices of the boxes that stay, by falling score.
    """
    if boxes.dtype in (torch.float16, torch.bfloat16):
        boxes, scores = boxes.float(), scores.float()
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    # mmcv holds the threshold in single precision: an IoU of just 0.6 does not exceed its 0.6.
    return torch.ops.torchvision.nms(boxes, scores, float(np.float32(iou_threshold)))


def pair_shares(first: Tensor, second: Tensor, offset: float, of_first: bool = False) -> Tensor:
    """Overlap of boxes whose leading dimensions broadcast, ``(..., 4)``, as a share.

    Args:
        first: Boxes as x1, y1, x2, y2.
        second: The others.
        offset: 1 where a box's width is ``x2 - x1 + 1``.
        of_first: Share of the first box's area instead of the union's.

    Returns:
        The shares; 0 where nothing is shared.
    """
    ax1, ay1, ax2, ay2 = first.movedim(-1, 0).contiguous()
    bx1, by1, bx2, by2 = second.movedim(-1, 0).contiguous()
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).add_(offset).clamp_(min=0)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).add_(offset).clamp_(min=0)
    shared = width.mul_(height)
    whole = (ax2 - ax1 + offset) * (ay2 - ay1 + offset)
    if not of_first:
        whole = (whole + (bx2 - bx1 + offset) * (by2 - by1 + offset)).sub_(shared)
    return torch.where(shared > 0, shared / whole, 0.0)


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """IoU of ``(N, 4)`` with ``(M, 4)`` boxes, written to ``ious``.

    Args:
        bboxes1: ``(N, 4)`` as x1, y1, x2, y2.
        bboxes2: ``(M, 4)``; ``M == N`` if aligned.
        ious: Where the result goes: ``(N, M)``, or ``(N,)`` if aligned.
        mode: 0 for intersection over union, 1 for intersection over the first box.
        aligned: Compare row by row instead of each with each.
        offset: 1 where a box's width is ``x2 - x1 + 1``.
    """
    first = bboxes1 if aligned else bboxes1[:, None]
    ious.copy_(pair_shares(first, bboxes2, offset, of_first=mode == 1).view_as(ious))


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """NMS that tells which boxes each kept one has removed.

    Args:
        dets: ``(N, 5)`` as x1, y1, x2, y2, score, on the CPU.
        iou_threshold: A box that overlaps a better one by as much is removed.

    Returns:
        One list for each kept box, by falling score: its index, then those of the boxes that it
        removed, by falling score.
    """
    # At least the threshold is more than the next smaller number.
    below = np.nextafter(np.float32(iou_threshold), np.float32(-1))
    boxes, scores = dets[:, :4].float(), dets[:, 4].float()
    kept = nms(boxes, scores, float(below), offset=0)  # (K,), by falling score
    order = scores.sort(descending=True, stable=True).indices  # (N,)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    owner = torch.empty_like(order)
    owner[kept] = torch.arange(len(kept))
    removed = torch.ones(len(order), dtype=torch.bool)
    removed[kept] = False
    lost = removed.nonzero()[:, 0]  # (N - K,)
    for some in lost.split(max(1, PAIRS // max(1, len(kept)))):
        hits = pair_shares(boxes[some][:, None], boxes[kept], 0) > below  # (some, K)
        hits &= rank[kept] < rank[some][:, None]
        # NumPy's argmax stops at the first True: the best box that removes it.
        owner[some] = torch.from_numpy(hits.numpy().argmax(axis=1))
    # By owner, and within by falling score, where the owner itself comes first.
    grouped = order[owner[order].sort(stable=True).indices].tolist()
    ends = owner.bincount(minlength=len(kept)).cumsum(0).tolist()
    return [grouped[start:end] for start, end in zip([0, *ends], ends, strict=False)]
