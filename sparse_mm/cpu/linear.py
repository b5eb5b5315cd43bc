"""Linear layers on oneDNN's matrix product.

In fp32 PyTorch's ``linear`` calls MKL. On CPUs that are not Intel's, MKL leaves more than half of
the speed unused; oneDNN's product, which ``torch.compile`` puts in its place, does not, and it
computes a GELU on the way. docs/performance.md has the figures.
"""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


@lru_cache(maxsize=1)
def onednn_product() -> Any:
    """The linear operator of oneDNN, tried once by calling it; None where it does not work.

    It is not a public name of PyTorch, so what it takes may change.
    """
    operator = getattr(torch.ops.mkldnn, '_linear_pointwise', None)
    if operator is None or not torch.backends.mkldnn.is_available():
        return None
    x, weight, bias = torch.ones(2, 3), torch.full((4, 3), 0.5), torch.ones(4)
    try:
        plain = operator(x, weight, bias, 'none', [], '')
        gelu = operator(x, weight, None, 'gelu', [], 'none')
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    if not torch.allclose(plain, F.linear(x, weight, bias)):
        return None
    if not torch.allclose(gelu, F.gelu(F.linear(x, weight)), atol=1e-5):
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
    product = onednn_product()
    if product is None or not x.numel() or not torch.backends.mkldnn.enabled:
        x = F.linear(x, weight, bias)
        return F.gelu(x) if gelu else x
    kind, variant = ('gelu', 'none') if gelu else ('none', '')
    out = product(x.reshape(-1, x.shape[-1]), weight, bias, kind, [], variant)
    return out.view(*x.shape[:-1], -1)


class OneDNNLinear(TorchFunctionMode):
    """Within it ``F.linear`` is :func:`linear`, whoever calls it; for passes without gradients."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Replaces the one function."""
        if func is F.linear and not kwargs:
            return linear(*args)
        return func(*args, **(kwargs or {}))
