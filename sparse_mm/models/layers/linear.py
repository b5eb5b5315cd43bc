"""Linear layers that run on the CPU's fastest matrix product.

In fp32 PyTorch's ``linear`` calls MKL. On CPUs that are not Intel's, MKL leaves more than half of
the speed unused, so here a linear layer calls oneDNN: in inference by the operator that
``torch.compile`` puts in its place, in training, for which that operator has no gradients, as what
a linear layer equals, a 1×1 convolution (docs/performance.md has the figures). Nothing else
changes: names of parameters, gradients, results to the rounding of the order of summation.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

# With fewer images, PyTorch computes a 1x1 convolution on one thread by MKL again; with many,
# oneDNN gets too few pixels of each at a time.
IMAGES = range(16, 65)
# From so many inputs on, oneDNN is faster with weights that lie column by column.
WIDE = 384
# Not a public name of PyTorch: without it, inference does as training does.
ONEDNN_LINEAR: Any = getattr(torch.ops.mkldnn, '_linear_pointwise', None)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """Computes ``x @ weight.T + bias``, as ``torch.nn.functional.linear`` does.

    On a CPU in fp32 by oneDNN; on other devices, in other precisions and where a graph is captured
    (``torch.compile``, export), by ``torch.nn.functional.linear`` itself, which is what the result
    is tested against.

    Args:
        x: ``(..., C)``.
        weight: ``(D, C)``.
        bias: ``(D,)`` or None.
        gelu: Whether a GELU follows; in inference on a CPU it costs no pass of its own.

    Returns:
        ``(..., D)``.
    """
    if not _uses_onednn(x):
        out = F.linear(x, weight, bias)
    elif ONEDNN_LINEAR is None or _needs_gradients(x, weight, bias):
        out = _as_convolution(x, weight, bias)
    else:
        kind, variant = ('gelu', 'none') if gelu else ('none', '')
        out = ONEDNN_LINEAR(x.reshape(-1, x.shape[-1]), weight, bias, kind, [], variant)
        return out.view(*x.shape[:-1], -1)
    return F.gelu(out) if gelu else out


def _as_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # Rows are independent, so any way of cutting them into images will do.
    rows = x.numel() // x.shape[-1]
    images = next((size for size in IMAGES if rows % size == 0), 0)
    if not images:
        return F.linear(x, weight, bias)
    # (I, rows / I, 1, C) is the channels-last form of (I, C, rows / I, 1).
    pixels = x.reshape(images, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)  # (I, D, rows / I, 1)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def _uses_onednn(x: Tensor) -> bool:
    return bool(
        x.device.type == 'cpu'
        and x.dtype == torch.float32
        and x.numel()
        and not torch.is_autocast_enabled('cpu')
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )


def _needs_gradients(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


if ONEDNN_LINEAR is not None:

    @register_flop_formula(ONEDNN_LINEAR)
    def _count(x_shape: torch.Size, weight_shape: torch.Size, *args: Any, **kwargs: Any) -> int:
        return 2 * math.prod(x_shape) * weight_shape[0]


class Linear(nn.Linear):
    """``nn.Linear`` on :func:`linear`.

    In evaluation mode on a CPU the weights of wide layers lie column by column in memory, which
    saves oneDNN from packing them anew for each product; in training mode row by row, as gradients
    come. It is the same parameter with the same values and shape, only its strides change.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Computes ``(..., in_features)`` -> ``(..., out_features)``."""
        return linear(x, self.weight, self.bias)

    def train(self, mode: bool = True) -> 'Linear':
        """Sets the mode, and the order of the weights in memory that is the faster one in it."""
        super().train(mode)
        weight = self.weight
        # PyTorch calls all CUDA tensors shared.
        shared = weight.device.type == 'cpu' and weight.is_shared()
        if shared or weight.is_inference():  # would not, or cannot, be moved
            return self
        # What is made in inference mode could not be trained any more.
        with torch.inference_mode(False), torch.no_grad():
            if mode and lies_by_column(weight):
                weight.data = weight.data.contiguous()
            elif not mode and self._is_faster_by_column() and not lies_by_column(weight):
                weight.data = weight.data.t().contiguous().t()
        return self

    def _is_faster_by_column(self) -> bool:
        weight = self.weight
        if self.in_features < WIDE or weight.dim() != 2 or ONEDNN_LINEAR is None:
            return False
        return weight.device.type == 'cpu' and weight.dtype == torch.float32


def lies_by_column(weight: Tensor) -> bool:
    """Whether the columns of a ``(D, C)`` matrix, not its rows, are contiguous in memory."""
    return weight.dim() == 2 and weight.t().is_contiguous() and not weight.is_contiguous()
