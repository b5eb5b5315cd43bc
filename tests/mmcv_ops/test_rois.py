import math

import pytest
import torch
from mmcv.ops import roi_align, roi_pool

from sparse_mm import mmcv_ops


def features(dtype=torch.float32, size=(2, 3, 13, 17)):
    return torch.randn(size, generator=torch.Generator().manual_seed(0)).to(dtype)


def regions(dtype=torch.float32):
    """Some inside, one partly outside, one without extent, one far outside."""
    return torch.tensor(
        [
            [0, 3.2, 4.1, 60.5, 40.3],
            [1, 10.7, 2.9, 33.3, 51.9],
            [0, -20.0, -10.0, 30.0, 25.0],
            [1, 50.0, 40.0, 90.0, 80.0],
            [0, 8.0, 8.0, 8.0, 8.0],
            [1, 200.0, 200.0, 240.0, 260.0],
        ],
        dtype=dtype,
    )


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling', [0, 2])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16])
def test_roi_align_as_compiled(compare, mode, aligned, sampling, dtype):
    def run():
        x = features(dtype).requires_grad_()
        out = roi_align(x, regions(dtype), (3, 4), 0.25, sampling, mode, aligned)
        weight = torch.arange(out.numel()).view_as(out).remainder(7).to(dtype)
        (out * weight).sum().backward()
        return out.detach(), x.grad

    theirs, ours = compare(run)
    # mmcv sums in half precision, so both are within a few roundings of the exact value.
    tolerance = dict(rtol=0, atol=0.06) if dtype == torch.float16 else {}
    torch.testing.assert_close(theirs[0], ours[0], **tolerance)
    # In half precision, either of two nearly equal samples may be the maximum.
    if mode == 'avg' or dtype != torch.float16:
        torch.testing.assert_close(theirs[1], ours[1], **tolerance)


def bilinear(plane, y, x):
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = plane[top, left] * (1 - dx) + plane[top, right] * dx
    lower = plane[below, left] * (1 - dx) + plane[below, right] * dx
    return float(upper * (1 - dy) + lower * dy)


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_by_its_definition(stand_in, mode):
    x, rois = features(torch.float64), regions(torch.float64)[:4]
    out = roi_align(x, rois, (2, 2), 0.25, 2, mode, True)
    for r, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (v * 0.25 - 0.5 for v in (x1, y1, x2, y2))
        for row in range(2):
            for column in range(2):
                ys = [y1 + (row + (s + 0.5) / 2) * (y2 - y1) / 2 for s in range(2)]
                xs = [x1 + (column + (s + 0.5) / 2) * (x2 - x1) / 2 for s in range(2)]
                samples = [bilinear(x[int(image), 1], b, a) for b in ys for a in xs]
                expected = max(samples) if mode == 'max' else sum(samples) / 4
                assert out[r, 1, row, column].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_without_regions(stand_in, mode):
    x = features().requires_grad_()
    out = roi_align(x, regions()[:0], (3, 4), 0.25, 0, mode, True)
    out.sum().backward()
    assert out.shape == (0, 3, 3, 4) and not x.grad.any()


def test_roi_align_in_parts(stand_in, monkeypatch):
    """The maximum of many regions is computed in parts."""
    whole = roi_align(features(), regions(), (3, 4), 0.25, 2, 'max', True)
    monkeypatch.setattr(mmcv_ops.rois, 'GATHERED', 1)
    assert torch.equal(roi_align(features(), regions(), (3, 4), 0.25, 2, 'max', True), whole)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_roi_pool_by_its_definition(stand_in, dtype):
    x, rois, scale = features(dtype).requires_grad_(), regions(), 0.25
    out = roi_pool(x, rois.to(dtype), (3, 2), scale)
    expected, gradient = torch.zeros_like(out), torch.zeros_like(x)
    weight = torch.arange(out.numel()).view_as(out).remainder(5).to(dtype)
    for r, (image, x1, y1, x2, y2) in enumerate(rois.to(dtype).tolist()):
        x1, y1, x2, y2 = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        for row in range(3):
            for column in range(2):
                top = min(max(math.floor(y1 + row * (y2 - y1) / 3), 0), 13)
                bottom = min(max(math.ceil(y1 + (row + 1) * (y2 - y1) / 3), 0), 13)
                left = min(max(math.floor(x1 + column * (x2 - x1) / 2), 0), 17)
                right = min(max(math.ceil(x1 + (column + 1) * (x2 - x1) / 2), 0), 17)
                if bottom <= top or right <= left:
                    continue
                for channel in range(3):
                    cell = x.detach()[int(image), channel, top:bottom, left:right]
                    expected[r, channel, row, column] = cell.max()
                    at = int(cell.argmax())
                    place = (top + at // cell.shape[1], left + at % cell.shape[1])
                    gradient[int(image), channel][place] += weight[r, channel, row, column]
    assert torch.equal(out, expected)
    (out * weight).sum().backward()
    torch.testing.assert_close(x.grad, gradient)
