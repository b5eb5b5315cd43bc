import math

import pytest
import torch
from mmcv.ops import box_iou_rotated, boxes_iou3d, diff_iou_rotated_2d, nms3d, nms3d_normal
from mmcv.ops import nms_rotated as mmcv_nms_rotated

from sparse_mm.mmcv_ops.rotated import corners, pair_areas
from sparse_mm.mmcv_ops.suppression import greedy_keep


def turned(count, seed=0, spread=60.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(count, 5, generator=generator)
    scale = torch.tensor([spread, spread, 20, 30, 2 * math.pi])
    return (numbers * scale + torch.tensor([0, 0, 3.0, 3, -math.pi])).to(dtype)


def clip(polygon, a, b):
    """The part of a polygon to the left of the line from a to b (Sutherland and Hodgman)."""
    result = []
    for start, end in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        sides = [
            (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) for p in (start, end)
        ]
        if sides[0] >= 0:
            result.append(start)
        if sides[0] * sides[1] < 0:
            share = sides[0] / (sides[0] - sides[1])
            result.append([s + (e - s) * share for s, e in zip(start, end, strict=True)])
    return result


def shared_area(first, second):
    p, q = (corners(box[None].double())[0].tolist() for box in (first, second))
    for a, b in zip(q, q[1:] + q[:1], strict=True):
        p = clip(p, a, b)
    pairs = zip(p, p[1:] + p[:1], strict=True)
    return sum(a[0] * b[1] - a[1] * b[0] for a, b in pairs) / 2


def test_areas_by_clipping():
    first, second = turned(400), turned(400, seed=1)
    second[:100] = first[:100]  # the same boxes,
    second[:50, :2] += 3.0  # moved,
    second[100:150] = first[100:150]
    second[100:150, 2:4] *= 0.5  # one within the other,
    second[150:180, 4] = first[150:180, 4] + math.pi / 2  # at right angles
    areas = pair_areas(first, second)
    expected = torch.tensor([shared_area(*pair) for pair in zip(first, second, strict=True)])
    assert (expected > 1).sum() > 150
    torch.testing.assert_close(areas, expected.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('angle', [0.0, 0.3, math.pi / 4, math.pi / 2, -2.0, 1e-8, 1e-5])
def test_areas_where_edges_coincide(angle):
    """Equal boxes, halves that touch, a box inside with a common edge."""
    box = torch.tensor([[5.0, -3, 4, 2, angle]], dtype=torch.float64)
    step = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    moved = [box.clone() for _ in range(4)]
    moved[1][0, :2] += 4 * step  # touches
    moved[2][0, :2] += 1 * step
    moved[2][0, 2] = 2  # its end is the box's end
    moved[3][0, 4] += math.pi  # the same, turned round
    areas = torch.cat([pair_areas(box, other) for other in moved])
    expected = torch.tensor([8.0, 0, 4, 8], dtype=torch.float64)
    torch.testing.assert_close(areas, expected, rtol=1e-6, atol=1e-6)


def test_areas_of_boxes_turned_very_little():
    """Nearly parallel edges are neither counted twice nor lost."""
    box = turned(200, dtype=torch.float64)
    for power in range(1, 17):
        other = box.clone()
        other[:, 4] += 10.0**-power
        lost = box[:, 2] * box[:, 3] - pair_areas(box, other)
        # Four triangles, each of a quarter of a side's square times the angle at most.
        most = 10.0**-power * (box[:, 2] ** 2 + box[:, 3] ** 2) / 2
        assert (lost >= -1e-6).all() and (lost <= most + 1e-6).all()


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('clockwise', [False, True])
def test_iou_as_compiled(compare, mode, aligned, clockwise):
    first, second = turned(60), turned(60 if aligned else 40, seed=1)
    theirs, ours = compare(lambda: box_iou_rotated(first, second, mode, aligned, clockwise))
    assert (theirs > 0.1).sum() > (5 if aligned else 100)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_iou_of_upright_boxes_empty_ones_and_none(stand_in):
    boxes = torch.tensor([[0.0, 0, 4, 2, 0], [1, 0, 4, 2, 0], [0, 0, 0, 3, 1], [90, 90, 1, 1, 0]])
    found = box_iou_rotated(boxes, boxes)
    expected = torch.zeros(4, 4)
    expected[0, 0] = expected[1, 1] = expected[3, 3] = 1
    expected[0, 1] = expected[1, 0] = 0.6
    torch.testing.assert_close(found, expected)
    assert box_iou_rotated(boxes[:0], boxes).shape == (0, 4)
    assert box_iou_rotated(boxes, boxes[:0]).shape == (4, 0)


@pytest.mark.parametrize('threshold', [0.1, 0.5])
def test_nms_as_compiled(compare, threshold):
    boxes, scores = turned(300), torch.rand(300, generator=torch.Generator().manual_seed(2))
    theirs, ours = compare(lambda: mmcv_nms_rotated(boxes, scores, threshold))
    assert 10 < len(theirs[1]) < 290
    assert torch.equal(theirs[1], ours[1]) and torch.equal(theirs[0], ours[0])


def test_nms_lets_labels_apart(stand_in):
    boxes = turned(1).repeat(4, 1)
    scores, labels = torch.tensor([0.1, 0.9, 0.8, 0.3]), torch.tensor([0, 0, 1, 1])
    assert mmcv_nms_rotated(boxes, scores, 0.5)[1].tolist() == [1]
    assert mmcv_nms_rotated(boxes, scores, 0.5, labels)[1].tolist() == [1, 2]


def solid(boxes):
    heights = torch.ones(len(boxes), 1)
    return torch.cat([boxes[:, :2], heights * 0, boxes[:, 2:4], heights, boxes[:, 4:]], dim=1)


def test_boxes_of_three_dimensions(stand_in):
    flat = turned(80)
    boxes, scores = solid(flat), torch.rand(80, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        boxes_iou3d(boxes, boxes), box_iou_rotated(flat, flat), rtol=1e-4, atol=1e-5
    )
    assert torch.equal(nms3d(boxes, scores, 0.3), mmcv_nms_rotated(flat, scores, 0.3)[1])
    flat[:, 4] = 0
    upright = mmcv_nms_rotated(flat, scores, 0.3)[1]
    assert torch.equal(nms3d_normal(boxes, scores, 0.3), upright)
    assert nms3d(boxes[:0], scores[:0], 0.3).shape == (0,)


def test_differentiable_iou(stand_in):
    first, second = turned(50, spread=20.0), turned(50, seed=1, spread=20.0)
    second[:10] = first[:10]
    plain = box_iou_rotated(first, second, aligned=True)
    first.requires_grad_()
    iou = diff_iou_rotated_2d(first[None], second[None])[0]
    torch.testing.assert_close(iou.detach(), plain, rtol=1e-3, atol=1e-4)
    iou.sum().backward()
    assert first.grad.isfinite().all() and first.grad[10:].any()


@pytest.mark.parametrize('seed', range(5))
def test_deciding_all_at_once_is_greedy(seed):
    """Chains of overlapping boxes, of every length."""
    generator = torch.Generator().manual_seed(seed)
    hits = (torch.rand(60, 60, generator=generator) < 0.05).triu(1)
    expected = []
    for rank in range(60):
        if not any(hits[other, rank] for other in expected):
            expected.append(rank)
    higher, lower = hits.nonzero(as_tuple=True)
    assert greedy_keep(higher, lower, 60).nonzero()[:, 0].tolist() == expected
    chain = torch.arange(9)
    assert greedy_keep(chain, chain + 1, 10).nonzero()[:, 0].tolist() == [0, 2, 4, 6, 8]
