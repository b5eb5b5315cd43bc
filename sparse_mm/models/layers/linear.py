"""Linear layers that run on the CPU's fastest matrix product.

In fp32 PyTorch's ``linear`` calls MKL, its convolutions oneDNN. On CPUs that are not Intel's, MKL
leaves more than half of the speed unused, so here a linear layer is computed as what it equals: a
1×1 convolution (docs/performance.md has the figures). Nothing else changes: names of parameters,
gradients, results to the rounding of the order of summation.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# With fewer images, PyTorch computes a 1x1 convolution on one thread by MKL again; with many,
# oneDNN gets too few pixels of each at a time.
IMAGES = range(16, 65)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes ``x @ weight.T + bias``, as ``torch.nn.functional.linear`` does.

    On a CPU in fp32 by oneDNN; on other devices, in other precisions, in small products and where a
    graph is captured (``torch.compile``, export), by ``torch.nn.functional.linear`` itself, which
    is what the result is tested against.

    Args:
        x: ``(..., C)``.
        weight: ``(D, C)``.
        bias: ``(D,)`` or None.

    Returns:
        ``(..., D)``.
    """
    if not _uses_onednn(x):
        return F.linear(x, weight, bias)
    # Rows are independent, so any way of cutting them into images will do.
    rows = x.numel() // x.shape[-1]
    images = next((size for size in IMAGES if rows % size == 0), 0)
    if not images or rows == 0:
        return F.linear(x, weight, bias)
    # (I, rows / I, 1, C) is the channels-last form of (I, C, rows / I, 1).
    pixels = x.reshape(images, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)  # (I, D, rows / I, 1)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def _uses_onednn(x: Tensor) -> bool:
    return bool(
        x.device.type == 'cpu'
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled('cpu')
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )


class Linear(nn.Linear):
    """``nn.Linear`` on :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Computes ``(..., in_features)`` -> ``(..., out_features)``."""
        return linear(x, self.weight, self.bias)
