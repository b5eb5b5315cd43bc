"""Changes of weights are noticed, however they were made."""

import pytest
import torch
from torch import nn

from sparse_mm.deploy.weights import WeightsWatch


def model(memory_format=torch.contiguous_format):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=memory_format)


def through_data(module):
    module[0].weight.data.mul_(2)


def in_place(module):
    with torch.no_grad():
        module[1].bias.add_(1)


def replaced(module):
    module[0].weight = nn.Parameter(torch.ones(4, 3, 3, 3))


def buffer(module):
    module[1].running_mean.fill_(3)


@pytest.mark.parametrize('change', [through_data, in_place, replaced, buffer])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_every_change_is_noticed_once(change, memory_format):
    watch, module = WeightsWatch(), model(memory_format)
    assert [watch.changed(module) for _ in range(3)] == [True, False, False]
    for _ in range(2):
        change(module)
        assert watch.changed(module)
        assert not watch.changed(module)
