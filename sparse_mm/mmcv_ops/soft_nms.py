"""Soft-NMS without a loop over the boxes."""

import numpy as np
import torch
from torch import Tensor

# How many of the best boxes are processed together.
BLOCK = 128


def shares(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of ``(4, N)`` with ``(4, M)`` boxes x1, y1, x2, y2, as ``(N, M)``."""
    box = boxes[:, :, None]  # (4, N, 1)
    width = np.minimum(box[2], others[2]) - np.maximum(box[0], others[0])
    height = np.minimum(box[3], others[3]) - np.maximum(box[1], others[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, others)]
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where(shared > 0, shared / (areas[0] + areas[1] - shared), np.float32(0))


def weights(
    boxes: np.ndarray, others: np.ndarray, method: int, iou_threshold: float, sigma: float
) -> np.ndarray:
    """What taking a box, by row, does to the score of another, by column: a factor."""
    iou = shares(boxes, others)
    if method == 2:
        return np.exp(iou * iou / np.float32(-sigma))
    less = 1 - iou if method == 1 else np.zeros_like(iou)
    return np.where(iou >= np.float32(iou_threshold), less, np.float32(1))


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al., ICCV 2017): overlapping boxes lose score instead of being removed.

    Scores only fall. So a box that scores higher than all that overlap it has its final score,
    whatever becomes of the others, and all such boxes can be taken at once. They are looked for
    among the best ``BLOCK`` ones: those that score at least as high as all boxes outside.

    Args:
        boxes: ``(N, 4)`` on the CPU.
        scores: ``(N,)``.
        dets: ``(N, 5)``; its first rows become the boxes that stay, with their new scores.
        iou_threshold: The overlap from which methods 0 and 1 act.
        sigma: Width of method 2's Gaussian.
        min_score: Boxes that fall below are removed; the best box always stays.
        method: 0 removes, 1 lowers by ``1 - IoU``, 2 by ``exp(-IoU^2 / sigma)``.
        offset: 1 where a box's width is ``x2 - x1 + 1``.

    Returns:
        Int64 indices of the boxes that stay, by falling new score.
    """
    if not len(boxes):
        return torch.empty(0, dtype=torch.long)
    corners = boxes.detach().float().numpy().T.copy()  # (4, N)
    corners[2:] += offset
    score = scores.detach().float().numpy().copy()
    final = np.full_like(score, -np.inf)
    stays = score >= min_score
    stays[score.argmax()] = True
    index = stays.nonzero()[0]
    score = score[index]
    while len(index):
        order = np.argsort(-score, kind='stable')
        index, score = index[order], score[order]
        block, bound = index[:BLOCK], score[BLOCK] if len(index) > BLOCK else -np.inf
        best = score[:BLOCK].copy()
        box = corners[:, block]
        factor = weights(box, box, method, iou_threshold, sigma)  # (B, B)
        np.fill_diagonal(factor, 1)
        touch = factor != 1
        taken = np.zeros(len(block), dtype=bool)
        while (top := best.max()) > -np.inf and top >= bound:
            higher = np.where(touch, best[:, None], -np.inf).max(axis=0)
            first = (best > higher) & (best >= bound)
            first[best.argmax()] = True  # of two equals that overlap, the earlier
            final[block[first]] = best[first]
            taken |= first
            best[taken] = -np.inf
            left = best > -np.inf
            best[left] *= factor[first][:, left].prod(axis=0)
            best[best < min_score] = -np.inf
        others = corners[:, index[BLOCK:]]
        factor = weights(box[:, taken], others, method, iou_threshold, sigma)
        score = np.concatenate([best, score[BLOCK:] * factor.prod(axis=0)])
        stays = score >= max(min_score, np.finfo(score.dtype).min)
        index, score = index[stays], score[stays]
    kept = np.argsort(-final, kind='stable')[: np.isfinite(final).sum()].copy()
    indices = torch.from_numpy(kept)
    dets[: len(kept), :4] = boxes[indices]
    dets[: len(kept), 4] = torch.from_numpy(final[kept]).to(dets)
    return indices
