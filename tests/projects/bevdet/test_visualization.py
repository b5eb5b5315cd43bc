"""Boxes are drawn at their projections, and nowhere else."""

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet3d', reason='needs mmdet3d')
from mmdet3d.structures import LiDARInstance3DBoxes

from projects.bevdet.bevdet.visualization import class_colours, draw_boxes, draw_plan

# Looks along y, the LiDAR frame's ahead: 100 x 60 pixels.
LIDAR2IMG = np.array(
    [[50.0, 50.0, 0.0, 0.0], [0.0, 30.0, -50.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
RED = (0, 0, 255)


def corners(x, y, yaw=0.0):
    box = torch.tensor([[x, y, -0.5, 4.0, 2.0, 1.0, yaw]])
    return LiDARInstance3DBoxes(box).corners.numpy()


@pytest.mark.parametrize(('y', 'seen'), [(10.0, True), (0.5, True), (-10.0, False)])
def test_edges_in_the_image(y, seen):
    image = np.zeros((60, 100, 3), np.uint8)
    draw_boxes(image, corners(0.0, y), [RED], LIDAR2IMG)
    rows, columns = image[..., 2].nonzero()
    assert bool(len(rows)) == seen
    if y == 10:  # 4 m across at 9 to 11 m: the near face is the widest
        assert abs(columns.min() - (50 - 50 * 2 / 9)) < 2
        assert abs(columns.max() - (50 + 50 * 2 / 9)) < 2
        assert abs(rows.min() - (30 - 50 * 0.5 / 9)) < 2
        assert abs(rows.max() - (30 + 50 * 0.5 / 9)) < 2


def test_the_plan_has_ahead_at_the_top_and_marks_the_front():
    side, reach = 200, 20.0
    empty = draw_plan(side, reach, corners(0.0, 0.0)[:0], [], None)
    plan = draw_plan(side, reach, corners(5.0, 12.0, yaw=np.pi / 2), [RED], empty.copy())
    rows, columns = (plan != empty).any(-1).nonzero()
    # 2 m across and 4 m along, 12 m ahead and 5 m to the right: 5 pixels for a metre.
    assert abs(rows.mean() - (100 - 12 * 5)) < 3
    assert abs(columns.mean() - (100 + 5 * 5)) < 2
    per_row = np.bincount(rows, minlength=side)
    front, back = 100 - 14 * 5, 100 - 10 * 5
    assert per_row[front - 1 : front + 2].sum() > per_row[back - 1 : back + 2].sum()


def test_classes_of_ones_own_have_colours():
    usual = dict(classes=('car', 'bus'), palette=[(255, 0, 0), (0, 255, 0)])
    assert class_colours(usual, usual) == [(255, 0, 0), (0, 255, 0)]
    # With classes of its own, a data set keeps the palette of its class, of another length.
    names = 'robot', 'car', 'cart'
    found = class_colours(dict(usual, classes=names), usual)
    assert found[1] == (255, 0, 0)
    assert len(set(found)) == 3
    assert len(set(class_colours(dict(classes=names), {}))) == 3
    own = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert class_colours(dict(classes=names, palette=own), usual) == [tuple(c) for c in own]
