"""Linear layers on oneDNN's matrix product.

In fp32 PyTorch's ``linear`` calls MKL. On CPUs that are not Intel's, MKL reaches less than half of
the speed of oneDNN's product, which ``torch.compile`` uses instead and which can include a GELU.
docs/performance.md has the figures.
"""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.overrides import TorchFunctionMode

# With fewer images, PyTorch computes a 1x1 convolution on one thread by MKL again; with many,
# oneDNN gets too few pixels of each at a time.
IMAGES = range(16, 65)


@lru_cache(maxsize=8)
def onednn_product(dtype: torch.dtype = torch.float32) -> Any:
    """The linear operator of oneDNN, tried once by calling it; None where it does not work.

    It is not a public name of PyTorch, so its arguments may change; and oneDNN has no bfloat16 on
    processors without AVX-512.
    """
    operator = getattr(torch.ops.mkldnn, '_linear_pointwise', None)
    if operator is None or not torch.backends.mkldnn.is_available():
        return None
    x, weight, bias = (torch.full(n, 0.5, dtype=dtype) for n in ((2, 3), (4, 3), (4,)))
    try:
        plain = operator(x, weight, bias, 'none', [], '')
        gelu = operator(x, weight, None, 'gelu', [], 'none')
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    eps = torch.finfo(dtype).eps
    if not torch.allclose(plain, F.linear(x, weight, bias), rtol=max(1e-5, 4 * eps)):
        return None
    # A few steps of numbers below 1; oneDNN rounds once after the GELU, PyTorch before it, too.
    if not torch.allclose(gelu, F.gelu(F.linear(x, weight)), atol=max(1e-5, 4 * eps)):
        return None
    return operator


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """Computes ``x @ weight.T + bias``, in inference on a CPU.

    Args:
        x: ``(..., C)``.
        weight: ``(D, C)``.
        bias: ``(D,)`` or None.
        gelu: Whether the exact GELU follows.

    Returns:
        ``(..., D)``.
    """
    product = onednn_product(x.dtype)
    if product is None or not x.numel() or not torch.backends.mkldnn.enabled:
        x = F.linear(x, weight, bias)
        return F.gelu(x) if gelu else x
    kind, variant = ('gelu', 'none') if gelu else ('none', '')
    out = product(x.reshape(-1, x.shape[-1]), weight, bias, kind, [], variant)
    return out.view(*x.shape[:-1], -1)


def linear_with_gradients(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes ``x @ weight.T + bias`` by oneDNN where gradients flow.

    oneDNN's operator has none, so it is a 1×1 convolution: forward and backward take about half of
    the time of MKL's product on CPUs that are not Intel's (docs/performance.md).

    Args:
        x: ``(..., C)``, float32.
        weight: ``(D, C)``.
        bias: ``(D,)`` or None.

    Returns:
        ``(..., D)``.
    """
    # Rows are independent, so they can be divided into images in any way.
    rows = x.numel() // x.shape[-1] if x.shape[-1] else 0
    images = next((size for size in IMAGES if rows and rows % size == 0), 0)
    if not images:
        return F.linear(x, weight, bias)
    # (I, rows / I, 1, C) is the channels-last form of (I, C, rows / I, 1).
    pixels = x.reshape(images, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)  # (I, D, rows / I, 1)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class OneDNNLinear(TorchFunctionMode):
    """Within it ``F.linear`` is :func:`linear`, whoever calls it; for passes without gradients."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Replaces the one function."""
        if func is F.linear and not kwargs:
            return linear(*args)
        return func(*args, **(kwargs or {}))


class OneDNNLinearInTraining(TorchFunctionMode):
    """Within it ``F.linear`` is :func:`linear_with_gradients` for float32 on a CPU.

    Not where activations are dropped to be computed again in the backward pass (``with_cp``), which
    torch runs outside of any mode, and compares.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Replaces the one function."""
        if func is F.linear and not kwargs and _is_plain_float32(*args) and _keeps_activations():
            return linear_with_gradients(*args)
        return func(*args, **(kwargs or {}))


def _is_plain_float32(*tensors: Tensor | None) -> bool:
    return not torch.is_autocast_enabled('cpu') and all(
        tensor is None
        or (
            (type(tensor) in (Tensor, nn.Parameter) and tensor.is_cpu)
            and tensor.dtype == torch.float32
        )
        for tensor in tensors
    )


def _keeps_activations() -> bool:
    """Whether what the backward pass needs is kept as it is, by no hooks such as checkpoint's."""
    try:
        with disable_saved_tensors_hooks('asked alone'):  # which refuses where there are any
            return True
    except RuntimeError:
        return False
