"""Feature maps that are sampled: the same in both layouts."""

import pytest
import torch
import torch.nn.functional as F

from sparse_mm.models.layers.image_features import EarlyConvolution, normalise_channels


@pytest.mark.parametrize('unbiased', [True, False])
@pytest.mark.parametrize('channels', [1, 2, 12])
def test_normalising_is_the_same_with_channels_last(unbiased, channels):
    x = torch.randn(2, channels, 3, 5) * 7 + 2
    found = normalise_channels(x.contiguous(memory_format=torch.channels_last), unbiased, 0.3)
    variance, mean = torch.var_mean(x, 1, unbiased=unbiased, keepdim=True)
    expected = (x - mean) / (variance + 0.3).sqrt()
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_pooling_before_the_relu_changes_no_output_and_no_gradient():
    stem, images = EarlyConvolution(4), torch.randn(2, 3, 17, 24)
    found = stem(images)
    (weight,) = torch.autograd.grad(found.square().sum(), stem.conv.weight)
    pooled = F.max_pool2d(F.relu(stem.conv(images)), 3, 2, 1)
    expected = normalise_channels(pooled)
    (other,) = torch.autograd.grad(expected.square().sum(), stem.conv.weight)
    assert torch.equal(found, expected)
    assert torch.equal(weight, other)
