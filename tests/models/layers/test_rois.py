"""RoI geometry in two and three dimensions, and clamped gradients."""

import pytest
import torch

from sparse_mm.models.layers.rois import (
    adjust_rois,
    encode_rois,
    grid_cells,
    grid_offsets,
    grid_rois,
    sample_features,
    sampling_points,
)


@pytest.mark.parametrize('count', [1, 2, 3, 9, 10, 49, 50])
def test_grids_of_any_number(count):
    rois = grid_rois(count)
    assert rois.shape == (count, 4)
    assert len(rois.unique(dim=0)) == count
    torch.testing.assert_close(rois[:, 2:] - rois[:, :2], torch.full((count, 2), 0.5))
    assert (rois >= 0).all()
    assert (rois <= 1).all()
    torch.testing.assert_close(grid_cells(count).mean(0), torch.full((2,), 0.5), atol=0.2, rtol=0)
    offsets = grid_offsets(count)
    assert offsets.shape == (count, 2)
    assert offsets.abs().max() < 0.5


def test_a_square_number_is_a_square_grid():
    rois = grid_rois(49)
    corners = torch.arange(7) / 12
    assert torch.allclose(rois[:, 0].unique(), corners)
    assert torch.allclose(rois[:, 1].unique(), corners)
    assert torch.allclose(grid_offsets(36)[:, 0].unique(), (torch.arange(6) + 0.5) / 6 - 0.5)


@pytest.mark.parametrize('dims', [2, 3])
def test_adjusting(dims):
    low, size = torch.rand(5, dims), torch.rand(5, dims)
    rois = torch.cat([low, low + size], -1)
    torch.testing.assert_close(adjust_rois(rois, torch.zeros(5, 2 * dims)), rois)
    deltas = torch.randn(5, 2 * dims)
    moved = adjust_rois(rois, deltas)
    centre = low + size / 2 + deltas[:, :dims] * size
    grown = size * deltas[:, dims:].exp()
    torch.testing.assert_close((moved[:, :dims] + moved[:, dims:]) / 2, centre)
    torch.testing.assert_close(moved[:, dims:] - moved[:, :dims], grown)
    assert adjust_rois(rois, torch.full((5, 2 * dims), 1e4)).isfinite().all()


@pytest.mark.parametrize('dims', [2, 3])
def test_points_have_a_third_of_the_box_as_their_spread(dims):
    low, size = torch.rand(2, 4, dims), torch.rand(2, 4, dims) + 0.1
    rois = torch.cat([low, low + size], -1)
    points = sampling_points(rois, torch.randn(2, 4, 16, dims) * 7 + 3)
    torch.testing.assert_close(points.mean(2), low + size / 2)
    torch.testing.assert_close(points.std(2), size / 3, rtol=1e-4, atol=1e-5)
    same = sampling_points(rois, torch.ones(2, 4, 1, dims))  # one point: the centre
    torch.testing.assert_close(same.squeeze(2), low + size / 2)


def test_sampling_reads_pixels():
    features = torch.randn(2, 5, 6, 8)
    y, x = torch.tensor([0, 3, 5]), torch.tensor([7, 2, 0])
    points = torch.stack([(x + 0.5) / 8, (y + 0.5) / 6], -1).expand(2, 1, 3, 2)
    found = sample_features(features, points)
    torch.testing.assert_close(found[:, 0], features[:, :, y, x].transpose(1, 2))
    outside = torch.full((2, 1, 1, 2), 3.0)
    assert sample_features(features, outside).abs().max() == 0
    border = sample_features(features, outside, padding='border')
    torch.testing.assert_close(border[:, 0, 0], features[:, :, -1, -1])


def coordinate_gradient(scale, dtype=None):
    """The gradient of the points, where the clamp binds."""
    torch.manual_seed(0)
    features = torch.randn(1, 4, 16, 16)
    points = torch.rand(1, 2, 9, 2).requires_grad_()
    scaler = torch.amp.GradScaler('cpu', init_scale=scale, enabled=scale != 1)
    handed_over = scaler.scale(torch.ones(()))
    with torch.autocast('cpu', dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        sampled = sample_features(features, points, loss_scale=handed_over)
        loss = sampled.square().mean() * 2
    scaler.scale(loss).backward()
    return points.grad / scaler.get_scale()


def test_the_clamp_knows_the_loss_scale():
    plain = coordinate_gradient(1)
    assert plain.abs().max() == 1 / 16  # it does clamp
    assert (plain.abs() < 1 / 16).any()
    for scale in (1, 1024, 65536):
        for dtype in (None, torch.float16, torch.bfloat16):
            torch.testing.assert_close(coordinate_gradient(scale, dtype), plain)


def test_the_clamp_in_a_compiled_graph():
    points = torch.rand(1, 2, 9, 2)
    features = torch.randn(1, 4, 16, 16) * 100

    def loss(points, scale):
        return sample_features(features, points, loss_scale=scale).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend='aot_eager')
    for scale in (None, torch.tensor(2.0), torch.tensor(4.0)):
        gradients = []
        for function in (loss, compiled):
            own = points.clone().requires_grad_()
            function(own, scale).backward()
            gradients.append(own.grad)
        torch.testing.assert_close(*gradients)
        assert gradients[0].abs().max() == (1 if scale is None else scale) / 16


def test_gradients_in_float64():
    """Where the clamp does not bind, gradients are those of the function."""
    rois = grid_rois(2, 0.4).double()[None] + 0.013
    offsets = torch.randn(1, 2, 5, 2, dtype=torch.float64)
    features = torch.randn(1, 3, 4, 6, dtype=torch.float64) / 100

    def look(rois, offsets, features, deltas):
        moved = adjust_rois(rois, deltas)
        return sample_features(features, sampling_points(moved, offsets))

    deltas = torch.randn(1, 2, 4, dtype=torch.float64) / 10
    inputs = [x.requires_grad_() for x in (rois, offsets, features, deltas)]
    assert look(*inputs).dtype == torch.float64
    assert torch.autograd.gradcheck(look, inputs)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_keeps_coordinates_single(dtype):
    rois, offsets = grid_rois(9).to(dtype), torch.randn(1, 9, 4, 2, dtype=dtype)
    moved = adjust_rois(rois, torch.zeros(9, 4, dtype=dtype))
    points = sampling_points(moved[None], offsets)
    assert moved.dtype == points.dtype == encode_rois(rois[None], 16).dtype == torch.float32
    assert sample_features(torch.randn(1, 3, 8, 8, dtype=dtype), points).dtype == dtype
