"""The fast linear layer gives what PyTorch's gives, everywhere."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from sparse_mm.models.layers import linear as module
from sparse_mm.models.layers.linear import Linear, linear

# Windows, tokens, rows that cannot be cut, few rows, one vector, none.
SHAPES = [(40, 49), (3, 49), (2, 144), (5, 7, 7), (17,), (97,), (3,), (), (0, 49)]


@pytest.mark.parametrize('threads', [1, 2])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', SHAPES)
def test_equals_pytorchs(shape, bias, threads):
    x = torch.randn(*shape, 12, requires_grad=True)
    layer = torch.nn.Linear(12, 20, bias=bias)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected, found = layer(x), linear(x, layer.weight, layer.bias)
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        wanted = torch.randn_like(expected)
        inputs = [x, *layer.parameters()]
        for one, two in zip(
            torch.autograd.grad(found, inputs, wanted),
            torch.autograd.grad(expected, inputs, wanted),
            strict=True,
        ):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize('operator', [True, False])
@pytest.mark.parametrize('gelu', [True, False])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', SHAPES)
def test_inference_equals_pytorchs(shape, bias, gelu, operator, monkeypatch):
    if not operator:  # as in a PyTorch that has none
        monkeypatch.setattr(module, 'ONEDNN_LINEAR', None)
    x, layer = torch.randn(*shape, 12), torch.nn.Linear(12, 20, bias=bias)
    with torch.no_grad():
        expected = F.gelu(layer(x)) if gelu else layer(x)
        found = linear(x, layer.weight, layer.bias, gelu)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_inference_takes_the_operator_and_training_does_not(monkeypatch):
    calls = []
    real = module.ONEDNN_LINEAR
    monkeypatch.setattr(module, 'ONEDNN_LINEAR', lambda *args: calls.append(args) or real(*args))
    x, layer = torch.randn(32, 49, 8), Linear(8, 8)
    layer(x).sum().backward()
    assert layer.weight.grad is not None and not calls
    with torch.no_grad():
        layer(x)
    layer.requires_grad_(False)(x)
    assert len(calls) == 2
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() == 2 * 32 * 49 * 8 * 8


def test_the_convolution_is_really_taken(monkeypatch):
    calls = []
    real = F.conv2d
    monkeypatch.setattr(F, 'conv2d', lambda *args: calls.append(args) or real(*args))
    x, layer = torch.randn(32, 49, 8), Linear(8, 8)
    layer(x)
    assert len(calls) == 1
    with torch.autocast('cpu', torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer.double()(x.double())
    layer.to('meta')(x.to('meta'))
    assert len(calls) == 1


def test_transposed_inputs():
    x, layer = torch.randn(8, 32, 20).transpose(1, 2), Linear(32, 4)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias), rtol=1e-5,
                               atol=1e-6)  # fmt: skip


def test_state_dict_and_graphs_are_pytorchs():
    layer = Linear(8, 4)
    torch.nn.Linear(8, 4).load_state_dict(layer.state_dict())
    exported = torch.export.export(layer, (torch.randn(32, 8),))
    assert not any('conv' in str(node.target) for node in exported.graph.nodes)


def wide_layer():
    torch.manual_seed(0)
    return Linear(module.WIDE, 20)


def test_modes_change_how_weights_lie_and_nothing_else():
    layer, narrow = wide_layer(), Linear(module.WIDE - 1, 20)
    parameter, before = layer.weight, layer.weight.detach().clone()
    x = torch.randn(64, module.WIDE)
    for mode in (False, False, True, True, False):
        assert layer.train(mode) is layer and layer.training is mode
        narrow.train(mode)
        assert module.lies_by_column(layer.weight) is not mode
        assert narrow.weight.is_contiguous()
        assert layer.weight is parameter
        assert torch.equal(parameter, before)
        with torch.no_grad():
            expected = F.linear(x, before, layer.bias)
            torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    copy = deepcopy(layer)
    assert module.lies_by_column(copy.weight)
    plain = torch.nn.Linear(module.WIDE, 20)
    plain.load_state_dict(layer.state_dict())
    assert plain.weight.is_contiguous() and torch.equal(plain.weight, before)


@pytest.mark.parametrize('write', ['load_state_dict', 'data', 'in place'])
def test_new_weights_hold_at_once_in_evaluation(write):
    layer, other = wide_layer().eval(), torch.nn.Linear(module.WIDE, 20)
    x = torch.randn(64, module.WIDE)
    with torch.no_grad():
        layer(x)
        if write == 'load_state_dict':
            layer.load_state_dict(other.state_dict())
        for mine, new in zip(layer.parameters(), other.parameters(), strict=True):
            if write == 'data':  # as averaged weights are written, unseen by version counters
                mine.data.copy_(new.data)
            elif write == 'in place':
                mine.copy_(new)
        torch.testing.assert_close(layer(x), other(x), rtol=1e-5, atol=1e-5)


def test_training_goes_on_after_evaluation_as_if_there_had_been_none():
    def train(evaluate):
        layer = wide_layer()
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
        x = torch.linspace(-1, 1, 48 * module.WIDE).view(48, module.WIDE)
        for _ in range(3):
            if evaluate:
                with torch.inference_mode():
                    layer.eval()(x)
                layer.train()
            layer(x).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return layer.weight

    assert torch.equal(train(evaluate=True), train(evaluate=False))


def test_other_weights_stay_as_they_are():
    with torch.inference_mode():
        made_for_inference = wide_layer()
    for layer in (
        wide_layer().double(),
        wide_layer().to('meta'),
        wide_layer().share_memory(),
        made_for_inference,
    ):
        assert layer.eval().weight.is_contiguous()
        assert layer.train().weight.is_contiguous()


def test_rows_come_back_wherever_the_weights_have_gone():
    layer = wide_layer().eval().double()
    assert module.lies_by_column(layer.weight)
    assert layer.train().weight.is_contiguous()
