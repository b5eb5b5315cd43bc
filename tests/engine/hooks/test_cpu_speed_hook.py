"""CPUSpeedHook: in the dumped config, undone after the training, and the same losses."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn
from torch.utils.checkpoint import checkpoint

from sparse_mm.cpu.linear import OneDNNLinearInTraining, linear_with_gradients
from sparse_mm.engine.hooks import CPUSpeedHook, cpu_speed_hook
from tests.engine.search.toy import toy_config, toy_runner


@pytest.mark.parametrize('shape', [(32, 12), (2, 48, 12), (3, 5, 7, 12), (1, 12), (0, 12)])
@pytest.mark.parametrize('bias', [True, False])
def test_the_convolution_is_the_linear_layer(shape, bias):
    """With all gradients, compared with float64."""
    layer = nn.Linear(12, 20, bias=bias).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    inputs = [x, *layer.parameters()]
    expected = F.linear(x, layer.weight, layer.bias)
    found = linear_with_gradients(x, layer.weight, layer.bias)
    wanted = torch.randn_like(expected)
    torch.testing.assert_close(found, expected)
    for one, two in zip(
        torch.autograd.grad(found, inputs, wanted),
        torch.autograd.grad(expected, inputs, wanted),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


def test_only_plain_float32_is_replaced(monkeypatch):
    seen = []
    monkeypatch.setattr(
        'sparse_mm.cpu.linear.linear_with_gradients',
        lambda *args: seen.append(args[0].dtype) or F.linear(*args),
    )
    with OneDNNLinearInTraining():
        nn.Linear(4, 4)(torch.randn(16, 4))
        nn.Linear(4, 4).double()(torch.randn(16, 4).double())
        with torch.autocast('cpu', torch.bfloat16):
            nn.Linear(4, 4)(torch.randn(16, 4))
        F.linear(torch.randn(16, 4), weight=torch.randn(4, 4))
    assert seen == [torch.float32]


def test_activations_that_are_computed_again_are_the_same():
    """``with_cp``: torch compares the shapes of both, and ends a training where they differ."""
    layer = nn.Linear(4, 4)
    x = torch.randn(16, 4)
    gradients = []
    for computed_again in (False, True):
        with OneDNNLinearInTraining():
            y = layer(x)
            again = checkpoint(lambda z: layer(z).sin(), y, use_reentrant=False)
            found = again if computed_again else layer(y).sin()
        found.square().sum().backward()
        gradients.append(layer.weight.grad.clone())
        layer.zero_grad()
    torch.testing.assert_close(*gradients)


def test_training_gives_the_same_with_and_without(tmp_path, monkeypatch):
    losses, calls = [], []
    real = linear_with_gradients
    monkeypatch.setattr(
        'sparse_mm.cpu.linear.linear_with_gradients', lambda *a: calls.append(1) or real(*a)
    )
    for asked in (False, True):
        calls.clear()
        monkeypatch.setattr(cpu_speed_hook, 'is_intel', lambda asked=asked: not asked)
        runner = toy_runner(tmp_path / str(asked), evaluations=1, population=2, parents=1)
        runner.train()
        losses.append(runner.message_hub.get_scalar('train/loss')._log_history[:4])
        assert bool(calls) == asked
        assert not runner.model._forward_pre_hooks
        assert not runner.model._forward_hooks
        assert torch._C._len_torch_function_stack() == 0
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-4, atol=0)


def test_it_is_in_the_dumped_config(tmp_path):
    runner = toy_runner(tmp_path)
    assert dict(type='CPUSpeedHook') in runner.cfg.custom_hooks
    config = toy_config()
    config['custom_hooks'].append(dict(type='CPUSpeedHook', keep_memory=False))
    kinds = [hook['type'] for hook in Config(config).custom_hooks]
    assert kinds.count('CPUSpeedHook') == 1


def test_an_error_in_a_pass_leaves_no_mode_behind(tmp_path):
    runner = toy_runner(tmp_path)
    hook = CPUSpeedHook(onednn_linear=True)
    hook.before_train(runner)
    with pytest.raises(RuntimeError):
        runner.model(torch.randn(1, 2, 48, 48), torch.zeros(1).long(), mode='loss')
    assert torch._C._len_torch_function_stack() == 0
    hook.after_train(runner)
