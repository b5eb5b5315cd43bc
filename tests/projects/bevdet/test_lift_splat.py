"""Lifting and splatting compared with a loop over points; gradients and positions."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet3d', reason='needs mmdet3d')

from projects.bevdet.bevdet.lift_splat import LiftSplat, frustum, plan_splat, splat

GRID = [(-8.0, 8.0, 1.0), (-6.0, 6.0, 1.5), (-4.0, 4.0, 4.0)]
DEPTH = (1.0, 9.0, 1.0)


def camera(yaw, position, focal=20.0, size=(32, 48)):
    """Projection of a camera that looks along ``yaw`` from ``position``: (4, 4) float64."""
    forward = [math.cos(yaw), math.sin(yaw), 0.0]
    right = [math.sin(yaw), -math.cos(yaw), 0.0]
    lidar2cam = torch.eye(4, dtype=torch.float64)
    lidar2cam[:3, :3] = torch.tensor([right, [0.0, 0.0, -1.0], forward])
    lidar2cam[:3, 3] = -lidar2cam[:3, :3] @ torch.tensor(position, dtype=torch.float64)
    cam2img = torch.eye(4, dtype=torch.float64)
    cam2img[0, 0] = cam2img[1, 1] = focal
    cam2img[0, 2], cam2img[1, 2] = size[1] / 2, size[0] / 2
    return cam2img @ lidar2cam


@pytest.fixture
def cameras():
    """Two frames of two cameras: (2, 2, 4, 4)."""
    first = [camera(0.3, [0.0, 0.5, 1.0]), camera(2.4, [-0.5, 0.0, 1.2])]
    second = [camera(-1.0, [0.2, 0.0, 1.1]), camera(3.0, [0.0, 0.0, 0.9], focal=15.0)]
    return torch.stack([torch.stack(first), torch.stack(second)])


def test_whole_numbers_as_depths():
    depths = [LiftSplat(5, 3, 8, depth=d, grid=GRID).depths for d in (DEPTH, (1, 9, 1))]
    assert torch.equal(*depths)
    assert depths[0].tolist() == [1.5 + i for i in range(8)]


@pytest.fixture
def view():
    return LiftSplat(5, 3, stride=8, depth=DEPTH, grid=GRID)


def splat_by_loop(depth, context, lidar2img, stride=8):
    """Every point by itself, by the definition: (B, Z * C, Y, X)."""
    batch, cameras = lidar2img.shape[:2]
    cells = [round((high - low) / side) for low, high, side in GRID]
    channels = context.shape[1]
    out = np.zeros((batch, cells[2], channels, cells[1], cells[0]))
    for b in range(batch):
        for n in range(cameras):
            back = np.linalg.inv(lidar2img[b, n].numpy())
            for k, row, column in np.ndindex(*depth.shape[1:]):
                d = DEPTH[0] + (k + 0.5) * DEPTH[2]
                u, v = (column + 0.5) * stride - 0.5, (row + 0.5) * stride - 0.5
                point = back @ [u * d, v * d, d, 1.0]
                place = [
                    math.floor((p - low) / side)
                    for p, (low, _, side) in zip(point[:3], GRID, strict=True)
                ]
                if all(0 <= i < size for i, size in zip(place, cells, strict=True)):
                    x, y, z = place
                    image = b * cameras + n
                    weight = depth[image, k, row, column].item()
                    out[b, z, :, y, x] += weight * context[image, :, row, column].detach().numpy()
    return out.reshape(batch, -1, cells[1], cells[0])


def test_equals_a_loop_over_all_points(view, cameras):
    feats = torch.randn(2, 2, 5, 4, 6)
    projected = view.project(feats.flatten(0, 1))
    depth, context = projected[:, :8].softmax(1), projected[:, 8:]
    expected = splat_by_loop(depth, context, cameras)
    assert (expected != 0).any(axis=(1, 2, 3)).all()
    found = view(feats, cameras)
    assert found.shape == (2, 6, 8, 16)
    torch.testing.assert_close(found.double().detach(), torch.from_numpy(expected), rtol=1e-5,
                               atol=1e-6)  # fmt: skip


def test_gradients_are_numerically_right(view, cameras):
    points = frustum((4, 6), 8, view.depths, 'cpu')
    plan = plan_splat(points, cameras[:1], view.lower, view.cell, view.cells)
    depth = torch.rand(2, 8, 4, 6, dtype=torch.float64, requires_grad=True)
    context = torch.randn(2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d, c: splat(d, c, plan), (depth, context))


def test_same_bits_every_time(view, cameras):
    feats = torch.randn(2, 2, 5, 4, 6)
    assert torch.equal(view(feats, cameras), view(feats, cameras))


def test_mixed_precision_sums_in_fp32(view, cameras):
    feats = torch.randn(2, 2, 5, 4, 6)
    with torch.autocast('cpu', torch.bfloat16):
        out = view(feats, cameras)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, view(feats, cameras), rtol=0.05, atol=0.05)
    out.sum().backward()
    assert view.project.weight.grad.isfinite().all()


def test_an_object_lands_in_its_cell(view):
    """All depth at the true bin of one pixel: only the cell of that point is filled."""
    point = torch.tensor([5.3, 1.2, 0.4, 1.0], dtype=torch.float64)
    projection = camera(0.0, [0.0, 0.0, 1.0])
    u_d, v_d, depth, _ = projection @ point
    column, row = int(u_d / depth // 8), int(v_d / depth // 8)
    # Move the camera's image so that the point lies in the middle of that feature cell.
    shift = torch.eye(4, dtype=torch.float64)
    shift[0, 2] = (column + 0.5) * 8 - 0.5 - u_d / depth
    shift[1, 2] = (row + 0.5) * 8 - 0.5 - v_d / depth
    bins = int((depth - DEPTH[0]) / DEPTH[2])
    weights = torch.zeros(1, 8, 4, 6)
    weights[0, bins, row, column] = 1
    context = torch.ones(1, 3, 4, 6)
    points = frustum((4, 6), 8, view.depths, 'cpu')
    plan = plan_splat(points, (shift @ projection)[None, None], view.lower, view.cell, view.cells)
    filled = splat(weights, context, plan).view(2, 8, 16, 3)[..., 0].nonzero().tolist()
    x, y = math.floor((5.3 + 8) / 1.0), math.floor((1.2 + 6) / 1.5)
    assert filled == [[1, y, x]]


def test_nothing_in_view_gives_an_empty_ground(view):
    far = camera(0.0, [100.0, 0.0, 1.0])[None, None]
    feats = torch.randn(1, 1, 5, 4, 6)
    assert (view(feats, far) == 0).all()


def test_evaluation_plans_once_while_cameras_stay(view, cameras, monkeypatch):
    calls = []

    def counting(*args):
        calls.append(args)
        return plan_splat(*args)

    monkeypatch.setattr('projects.bevdet.bevdet.lift_splat.plan_splat', counting)
    feats = torch.randn(2, 2, 5, 4, 6)
    view.eval()
    first = view(feats, cameras)
    assert torch.equal(view(feats, cameras), first)
    assert len(calls) == 1
    assert not torch.equal(view(feats, cameras.flip(0)), first)
    view(feats[:1], cameras[:1])
    view(feats[:1, :, :, :3], cameras[:1])
    assert len(calls) == 4
    view.train()
    view(feats, cameras)
    view(feats, cameras)
    assert len(calls) == 6
