"""The feed-forward network keeps less than it computes, and computes what its layers say."""

import pytest
import torch
from torch import nn

from sparse_mm.models.layers.feed_forward import FeedForward


def plain(ffn, x, identity):
    return identity + ffn.layers(x)


@pytest.mark.parametrize('activation', [nn.GELU(), nn.GELU('tanh'), nn.ReLU()], ids=str)
@pytest.mark.parametrize('grad', [True, False])
def test_equals_its_layers_one_after_the_other(activation, grad):
    ffn = FeedForward(12, 48, activation)
    x, identity = torch.randn(2, 32, 12, requires_grad=grad), torch.randn(2, 32, 12)
    with torch.set_grad_enabled(grad):
        found, expected = ffn(x, identity), plain(ffn, x, identity)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    if grad:
        inputs = [x, *ffn.parameters()]
        wanted = torch.randn_like(found)
        for one, two in zip(
            torch.autograd.grad(found, inputs, wanted),
            torch.autograd.grad(expected, inputs, wanted),
            strict=True,
        ):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def saved_bytes(run):
    """Bytes that autograd keeps of what is no parameter."""
    kept = {}

    def pack(tensor):
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def test_training_keeps_one_hidden_layer_instead_of_two():
    ffn = FeedForward(16, 64, nn.GELU())
    x = torch.randn(1, 1024, 16, requires_grad=True)
    outputs = []
    ours = saved_bytes(lambda: outputs.append(ffn(x, x)))
    theirs = saved_bytes(lambda: outputs.append(plain(ffn, x, x)))
    assert theirs - ours == pytest.approx(1024 * 64 * 4, rel=0.1)


def test_dropout_is_the_same_in_the_backward_pass():
    """What is computed anew draws the same mask: the gradient knows which outputs were 0."""
    ffn = FeedForward(8, 8, nn.ReLU(), drop_rate=0.5)
    ffn.layers[0][0].weight.data, ffn.layers[0][0].bias.data = torch.eye(8), torch.zeros(8)
    ffn.layers[1].weight.data, ffn.layers[1].bias.data = torch.eye(8), torch.zeros(8)
    x = torch.rand(1, 64, 8, requires_grad=True)
    out = ffn(x, torch.zeros_like(x))
    out.sum().backward()
    torch.testing.assert_close(x.grad * x, out)  # each output is its input times 0, 2 or 4


def test_frozen_layers_and_odd_inputs():
    ffn = FeedForward(8, 16, nn.GELU()).requires_grad_(False)
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(ffn(x, x), plain(ffn, x, x), rtol=1e-5, atol=1e-6)
    with torch.autocast('cpu', torch.bfloat16):
        assert ffn(x, x).isfinite().all()
