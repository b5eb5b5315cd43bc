"""Scaled dot product attention, and which of PyTorch's kernels may compute it.

On Hopper GPUs PyTorch 2.11 prefers cuDNN's attention in half precision. It builds a plan for every
new shape, about half a second each, and images of several sizes with random pruning ratios have
thousands of shapes. There is also a public report of NaN gradients with it, for short sequences
with a mask. So cuDNN is excluded; PyTorch chooses among the other kernels.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """Attention, by any of PyTorch's kernels but cuDNN's.

    Args:
        query: ``(B, heads, N, d)``.
        key: ``(B, heads, M, d)``.
        value: ``(B, heads, M, d')``.
        bias: Added to the logits, broadcastable to ``(B, heads, N, M)``; None for nothing.
        dropout: Of the attention weights.
        scale: Of the logits; None for ``d ** -0.5``.

    Returns:
        ``(B, heads, N, d')``.
    """
    if not _on_gpu(query):
        return F.scaled_dot_product_attention(query, key, value, bias, dropout, scale=scale)
    with _without_cudnn():
        return F.scaled_dot_product_attention(query, key, value, bias, dropout, scale=scale)


def _on_gpu(x: Tensor) -> bool:
    return x.is_cuda


def _without_cudnn() -> AbstractContextManager:
    # In graph capture, the context that the compiler supports. Otherwise kernels that the caller
    # has chosen by a context of its own stay in use.
    return sdpa_kernel(BACKENDS) if torch.compiler.is_compiling() else _cudnn_switched_off()


@contextmanager
def _cudnn_switched_off() -> Iterator[None]:
    settings = torch.backends.cuda
    others = (
        settings.flash_sdp_enabled(),
        settings.mem_efficient_sdp_enabled(),
        settings.math_sdp_enabled(),
    )
    if not settings.cudnn_sdp_enabled() or not any(others):  # off; or asked for, and alone
        yield
        return
    settings.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        settings.enable_cudnn_sdp(True)
