"""Sampling by rows: what grid_sample computes, at any points."""

import pytest
import torch
import torch.nn.functional as F

from sparse_mm.cpu import sampling
from sparse_mm.cpu.sampling import SamplingByRows, sample_rows


def make_map():
    return torch.randn(2, 8, 5, 9).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('padding', ['zeros', 'border'])
def test_it_computes_what_grid_sample_does(padding):
    features, grid = make_map(), torch.rand(2, 7, 3, 2) * 3 - 1.5
    grid[0, 0] = torch.tensor([[-1.0, 1.0], [1e4, -1e4], [1e30, -1e30]])
    grid[0, 1, 0] = torch.tensor([1 / 9, 0.0])  # the middle of a pixel
    found = sample_rows(features, grid, padding)
    expected = F.grid_sample(features, grid, padding_mode=padding, align_corners=False)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_point_that_is_no_number_harms_no_other():
    features, grid = make_map(), torch.zeros(2, 1, 2, 2)
    grid[0, 0, 0, 0] = torch.nan
    found = sample_rows(features, grid)
    assert found[0, :, 0, 1].isfinite().all()
    assert found[1].isfinite().all()


@pytest.mark.parametrize(
    'options',
    [
        dict(mode='nearest'),
        dict(padding_mode='reflection'),
        dict(align_corners=True),
        dict(plain_layout=True),
    ],
    ids=str,
)
def test_other_sampling_is_left_to_pytorch(monkeypatch, options):
    features, grid = make_map(), torch.rand(2, 7, 3, 2) * 3 - 1.5
    options = {'align_corners': False, **options}
    if options.pop('plain_layout', False):
        features = features.contiguous()
    monkeypatch.delattr(sampling, 'sample_rows')
    with SamplingByRows():
        found = F.grid_sample(features, grid, **options)
    assert torch.equal(found, F.grid_sample(features, grid, **options))
