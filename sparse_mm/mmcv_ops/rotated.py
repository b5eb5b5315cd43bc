"""Rotated boxes: their overlap, and NMS by it."""

import torch
from torch import Tensor

from .boxes import nms
from .suppression import greedy_keep

# Pairs of boxes worked on at once: what stays in a processor's cache.
PAIRS = 1 << 12
# How many of the best boxes decide among themselves at once in NMS.
BLOCK = 128
# Edges whose directions differ by less (as a sine) are parallel.
PARALLEL = 1e-9


def corners(boxes: Tensor) -> Tensor:
    """Corners of ``(K, 5)`` boxes x, y, width, height, angle: ``(K, 4, 2)``, once around."""
    signs = boxes.new_tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    local = boxes[:, None, 2:4] * signs  # (K, 4, 2)
    cos, sin = boxes[:, 4:].cos(), boxes[:, 4:].sin()  # (K, 1)
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return torch.stack([x, y], dim=-1) + boxes[:, None, :2]


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product of vectors of the plane, ``(..., 2)``."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def boundary_inside(
    start: Tensor, edge: Tensor, enter: Tensor, slope: Tensor, flat: Tensor
) -> Tensor:
    """Twice the area that those parts of a boundary sweep that lie inside another box.

    Args:
        start: ``(K, 4, 2)``, where each edge of the boundary starts.
        edge: ``(K, 4, 2)``, its vector.
        enter: ``(K, 4, 4)``. By edge and the other box's edge: how deep the start is inside.
        slope: ``(K, 4, 4)``, how that changes along the edge. 0 where they are parallel.
        flat: Bool ``(K, 4, 4)``. Where they are parallel: whether the edge lies inside.

    Returns:
        ``(K,)``.
    """
    crossing = -enter / slope  # where along the edge the other's line is met
    zero, one = crossing.new_zeros(()), crossing.new_ones(())
    first = torch.where(slope > 0, crossing, torch.where(flat, zero, one)).amax(dim=2).clamp(min=0)
    last = torch.where(slope < 0, crossing, one).amin(dim=2).clamp(max=1)
    return ((last - first).clamp(min=0) * cross(start, edge)).sum(dim=1)


def intersection(first: Tensor, second: Tensor) -> Tensor:
    """Area that rotated boxes share, pair by pair.

    The outline of what two convex shapes share consists of the parts of each one's outline inside
    the other, and an area is half the sum of the cross products along its outline (Green). So
    each edge is cut by the other box's four lines (Cyrus and Beck 1978); corners need no sorting.
    Where two edges coincide, the first box's counts.

    Args:
        first: Float64 ``(K, 5)`` as x, y, width, height, angle in radians.
        second: The others.

    Returns:
        Float64 ``(K,)``.
    """
    middle = (first[:, :2] + second[:, :2]) / 2
    starts, edges = [], []
    for boxes in (first, second):
        points = corners(torch.cat([boxes[:, :2] - middle, boxes[:, 2:]], dim=1))
        starts.append(points)
        edges.append(points.roll(-1, dims=1) - points)
    (p, q), (d, e) = starts, edges
    d_, e_ = d[:, :, None], e[:, None]  # (K, 4, 1, 2), (K, 1, 4, 2)
    apart = p[:, :, None] - q[:, None]  # (K, 4, 4, 2)
    slope = cross(e_, d_)  # (K, 4, 4)
    parallel = slope.abs() <= PARALLEL * d_.norm(dim=-1) * e_.norm(dim=-1)
    slope = torch.where(parallel, 0.0, slope)
    # One number decides for both boxes on which side parallel edges lie.
    depth = cross(e_, apart + d_ / 2)
    same_way = (d_ * e_).sum(dim=-1) > 0
    p_inside = (depth > 0) | ((depth == 0) & same_way)
    q_inside = torch.where(same_way, depth < 0, depth > 0)
    swept = boundary_inside(p, d, cross(e_, apart), slope, p_inside | ~parallel)
    swept = swept + boundary_inside(
        q,
        e,
        cross(d_, -apart).transpose(1, 2),
        -slope.transpose(1, 2),
        (q_inside | ~parallel).transpose(1, 2),
    )
    return swept.clamp(min=0) / 2


def near_pairs(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the pairs of ``(N, 5)`` and ``(M, 5)`` boxes whose circles meet: rows and columns."""
    reach = [boxes[:, 2:4].norm(dim=1) / 2 for boxes in (first, second)]
    rows: list[Tensor] = []
    columns: list[Tensor] = []
    # A million pairs of circles at once.
    step = max(1, (1 << 20) // max(1, len(second)))
    for begin in range(0, len(first), step):
        part = slice(begin, begin + step)
        dx = first[part, 0, None] - second[:, 0]
        dy = first[part, 1, None] - second[:, 1]
        near = dx * dx + dy * dy <= (reach[0][part, None] + reach[1]).square()
        row, column = near.nonzero(as_tuple=True)
        rows.append(row + begin)
        columns.append(column)
    nothing = [torch.empty(0, dtype=torch.long, device=first.device)]
    return torch.cat(rows or nothing), torch.cat(columns or nothing)


def overlapping(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Finds the pairs of ``(N, 5)`` and ``(M, 5)`` boxes that may overlap, and what they share.

    Returns:
        Rows and columns, int64 ``(K,)``, and areas, float64 ``(K,)``; all other pairs share
        nothing.
    """
    first, second = first.double(), second.double()
    row, column = near_pairs(first, second)
    return row, column, pair_areas(first[row], second[column])


def pair_areas(first: Tensor, second: Tensor) -> Tensor:
    """Areas that ``(K, 5)`` boxes share pair by pair, float64 ``(K,)``; 0 if one is empty."""
    first, second = first.double(), second.double()
    parts = zip(first.split(PAIRS), second.split(PAIRS), strict=True)
    shared = torch.cat([intersection(*part) for part in parts])
    smaller = torch.minimum(first[:, 2:4].prod(dim=1), second[:, 2:4].prod(dim=1))
    return torch.where(smaller >= 1e-14, torch.minimum(shared, smaller), 0.0)


def box_iou_rotated(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool
) -> None:
    """IoU of rotated boxes, written to ``ious``.

    Args:
        boxes1: ``(N, 5)`` as x, y, width, height, angle in radians.
        boxes2: ``(M, 5)``; ``M == N`` if aligned.
        ious: ``(N * M,)``, or ``(N,)`` if aligned.
        mode_flag: 0 for intersection over union, 1 for intersection over the first box.
        aligned: Compare row by row instead of each with each.
    """
    areas = [boxes[:, 2:4].double().prod(dim=1) for boxes in (boxes1, boxes2)]
    if aligned:
        shared = pair_areas(boxes1, boxes2)
        whole = areas[0] if mode_flag == 1 else areas[0] + areas[1] - shared
        ious.copy_(torch.where(shared > 0, shared / whole, 0.0))
        return
    row, column, shared = overlapping(boxes1, boxes2)
    whole = areas[0][row] if mode_flag == 1 else areas[0][row] + areas[1][column] - shared
    ious.zero_()
    ious[row * len(boxes2) + column] = torch.where(shared > 0, shared / whole, 0.0).to(ious)


def too_close(
    boxes: Tensor, above: Tensor, below: Tensor, iou_threshold: float, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Finds which boxes overlap better ones by more than a threshold.

    Args:
        boxes: Float64 ``(N, 5)``, sorted by falling score.
        above: Ranks of the better boxes.
        below: Ranks of the others; the same for the pairs within one set.
        iou_threshold: The threshold.
        labels: ``(N,)``; if given, only boxes of the same label count.

    Returns:
        For each such pair its places in ``above`` and ``below``.
    """
    row, column = near_pairs(boxes[above], boxes[below])
    better, worse = above[row], below[column]
    area = boxes[:, 2:4].prod(dim=1)
    # Two boxes share no more than the smaller one has.
    smaller = torch.minimum(area[better], area[worse])
    larger = torch.maximum(area[better], area[worse])
    possible = (better < worse) & (smaller > iou_threshold * larger)
    if labels is not None:
        possible &= labels[better] == labels[worse]
    row, column, better, worse = (x[possible] for x in (row, column, better, worse))
    shared = pair_areas(boxes[better], boxes[worse])
    hit = shared > iou_threshold * (area[better] + area[worse] - shared)
    return row[hit], column[hit]


def keep_by_overlap(boxes: Tensor, iou_threshold: float, labels: Tensor | None = None) -> Tensor:
    """Greedy NMS of ``(N, 5)`` rotated boxes that are sorted by falling score.

    Args:
        boxes: As x, y, width, height, angle in radians.
        iou_threshold: A box that overlaps a better one by more is removed.
        labels: ``(N,)``; if given, only boxes of the same label remove each other.

    Returns:
        Int64 ranks of the boxes that stay.
    """
    boxes = boxes.double()
    left = torch.arange(len(boxes), device=boxes.device)
    kept = [left[:0]]
    while len(left):
        # The best of those that are left decide among themselves, then about all others.
        block, left = left[:BLOCK], left[BLOCK:]
        higher, lower = too_close(boxes, block, block, iou_threshold, labels)
        kept.append(block[greedy_keep(higher, lower, len(block))])
        _, removed = too_close(boxes, kept[-1], left, iou_threshold, labels)
        stays = torch.ones_like(left, dtype=torch.bool)
        stays[removed] = False
        left = left[stays]
    return torch.cat(kept)


def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """Greedy NMS of rotated boxes.

    Args:
        dets: ``(N, 5)`` as x, y, width, height, angle in radians; not used.
        scores: ``(N,)``; not used.
        order: Int64 ``(N,)``, which sorts the boxes by falling score.
        dets_sorted: The sorted boxes, with the label as a sixth column if multi_label.
        labels: Not used.
        iou_threshold: A box that overlaps a better one by more is removed.
        multi_label: Only boxes of the same label remove each other.

    Returns:
        Int64 indices of the boxes that stay, by falling score.
    """
    own = dets_sorted[:, 5] if multi_label else None
    return order[keep_by_overlap(dets_sorted[:, :5], iou_threshold, own)]


def from_above(boxes: Tensor) -> Tensor:
    """``(N, 7)`` boxes x, y, z, dx, dy, dz, heading seen from above: x, y, dx, dy, heading."""
    return boxes[:, [0, 1, 3, 4, 6]]


def iou3d_boxes_overlap_bev_forward(boxes_a: Tensor, boxes_b: Tensor, ans_iou: Tensor) -> None:
    """Areas that ``(N, 7)`` and ``(M, 7)`` boxes share from above, written to ``(N, M)``."""
    row, column, shared = overlapping(from_above(boxes_a), from_above(boxes_b))
    ans_iou.zero_()
    ans_iou[row, column] = shared.to(ans_iou)


def iou3d_nms3d_forward(
    boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float
) -> None:
    """NMS of ``(N, 7)`` boxes from above; ``keep`` gets the ranks, ``num_out`` their number."""
    kept = keep_by_overlap(from_above(boxes), nms_overlap_thresh)
    keep[: len(kept)] = kept
    num_out.fill_(len(kept))


def iou3d_nms3d_normal_forward(
    boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float
) -> None:
    """As iou3d_nms3d_forward, with all headings taken as 0."""
    half = boxes[:, 3:5] / 2
    upright = torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], dim=1)
    ranks = torch.arange(len(boxes), 0, -1, device=boxes.device)
    kept = nms(upright, ranks.to(upright), nms_overlap_thresh, offset=0)
    keep[: len(kept)] = kept
    num_out.fill_(len(kept))


def diff_iou_rotated_sort_vertices_forward(
    vertices: Tensor, mask: Tensor, num_valid: Tensor
) -> Tensor:
    """Sorts the corners of shared polygons by angle, for the differentiable IoU.

    Args:
        vertices: ``(B, N, M, 2)``, around each polygon's middle; corners of the boxes first, at
            most 8, then crossings of their edges, zeros where there is none.
        mask: Bool ``(B, N, M)``, which are corners of the polygon.
        num_valid: Int32 ``(B, N)``, how many.

    Returns:
        Int32 ``(B, N, 9)``: the corners by rising angle from 0 to 2 pi, then the first again,
        then any that is not one (zeros add nothing to the area).
    """
    angle = torch.atan2(vertices[..., 1], vertices[..., 0]) % (2 * torch.pi)
    angle = torch.where(mask.bool(), angle, torch.inf)
    order = angle.sort(dim=-1, stable=True).indices[..., :9]  # (B, N, 9)
    count = num_valid.long()[..., None].clamp(max=8)
    padding = 8 + (~mask[..., 8:].bool()).to(torch.uint8).argmax(dim=-1, keepdim=True)
    place = torch.arange(9, device=mask.device)
    order = torch.where(place == count, order[..., :1], order)
    return torch.where((place > count) | (count < 3), padding, order).int()
