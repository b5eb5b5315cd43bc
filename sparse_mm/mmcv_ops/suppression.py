"""Greedy suppression without a loop over the boxes."""

import torch
from torch import Tensor


def greedy_keep(higher: Tensor, lower: Tensor, count: int) -> Tensor:
    """Finds which boxes survive greedy non-maximum suppression.

    Greedy suppression goes through the boxes by falling score; a box that is still there removes
    those below it that overlap it too much. Here all boxes are decided at once, again and again,
    each by the latest decision about those above it. The best box is right from the start, one
    that only meets right ones is right a turn later, so the turns end with the greedy result after
    as many as the longest chain of boxes that decide about each other, which is short in pictures.

    Args:
        higher: Int64 ``(P,)``. For each pair that overlaps too much, the rank of the better box.
        lower: Int64 ``(P,)``. The rank of the other one; ``higher < lower``.
        count: Number of boxes; ranks are from 0 (best) to ``count - 1``.

    Returns:
        Bool ``(count,)``, by rank: whether the box is kept.
    """
    keep = torch.ones(count, dtype=torch.bool, device=higher.device)
    while True:
        removed = torch.zeros_like(keep)
        removed[lower[keep[higher]]] = True
        if torch.equal(keep, ~removed):
            return keep
        keep = ~removed
