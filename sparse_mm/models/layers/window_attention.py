"""Attention inside windows, with relative position bias (Swin, ICCV 2021, section 3.2)."""

from typing import Protocol

import torch
from torch import Tensor, nn

from sparse_mm.models.layers.attention import attention


class Kernel(Protocol):
    """Another way to compute :func:`attend`."""

    def takes(self, qkv: Tensor, bias: Tensor, dropout: float) -> bool:
        """Whether it computes attention of such arguments."""

    def run(
        self,
        qkv: Tensor,
        bias: Tensor,
        kinds: Tensor | None,
        masks: Tensor | None,
        scale: float | None,
    ) -> Tensor:
        """Computes it, as :func:`attend` does without dropout."""


# Kernels that are tried before PyTorch's attention; sparse_mm.cuda.use_window_kernel adds one.
KERNELS: list[Kernel] = []


def relative_position_index(window_size: int) -> Tensor:
    """The row of the bias table for each pair of tokens of a window.

    Args:
        window_size: Side of the window.

    Returns:
        ``(N, N)`` int64 with ``N = window_size²``; values below ``(2 * window_size - 1)²``.
    """
    position = torch.arange(window_size)
    row, column = torch.meshgrid(position, position, indexing='ij')
    row, column = row.flatten(), column.flatten()  # (N,)
    rows_apart = row[:, None] - row[None, :] + window_size - 1
    columns_apart = column[:, None] - column[None, :] + window_size - 1
    return rows_apart * (2 * window_size - 1) + columns_apart


def attend(
    qkv: Tensor,
    bias: Tensor,
    kinds: Tensor | None = None,
    masks: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention among the tokens of each window.

    Args:
        qkv: ``(num_windows, N, 3, heads, d)``: queries, keys and values.
        bias: ``(heads, N, N)``, added to the logits of all windows.
        kinds: ``(num_windows,)`` int64, which of ``masks`` holds for each window; None for no mask.
        masks: ``(4, N, N)``, added to the logits; the first is zeros.
        scale: Of the logits; None for ``d ** -0.5``.
        dropout: Of the attention weights.

    Returns:
        ``(num_windows, N, heads * d)``.
    """
    for kernel in KERNELS:
        if kernel.takes(qkv, bias, dropout):
            return kernel.run(qkv, bias, kinds, masks, scale)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (num_windows, heads, N, d) each
    return attend_heads(query, key, value, bias, kinds, masks, scale, dropout)


def attend_heads(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    kinds: Tensor | None = None,
    masks: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """As :func:`attend`, with ``(num_windows, heads, N, d)`` each of queries, keys and values."""
    bias = bias.unsqueeze(0)
    if kinds is not None and masks is not None:
        bias = (bias + masks.unsqueeze(1)).index_select(0, kinds)  # (num_windows, heads, N, N)
    x = attention(query, key, value, bias.to(query.dtype), dropout, scale)
    return x.transpose(1, 2).flatten(2)


class WindowMSA(nn.Module):
    """Multi-head self-attention among the tokens of each window.

    Parameter names are those of mmdet's ``WindowMSA``.

    Args:
        embed_dims: Channels ``C``.
        num_heads: Attention heads; divides ``embed_dims``.
        window_size: Side of a window.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Overrides the scale ``(C / num_heads) ** -0.5``.
        attn_drop_rate: Dropout of the attention weights.
        proj_drop_rate: Dropout of the output.
    """

    relative_position_index: Tensor

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window_size: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(
                f'{embed_dims} channels cannot be shared out evenly to {num_heads} heads.'
            )
        self.num_heads = num_heads
        self.scale = qk_scale or (embed_dims // num_heads) ** -0.5
        self.attn_drop_rate = attn_drop_rate
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window_size - 1) ** 2, num_heads)
        )
        self.register_buffer('relative_position_index', relative_position_index(window_size))
        self.qkv = nn.Linear(embed_dims, embed_dims * 3, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)

    def position_bias(self) -> Tensor:
        """The bias of every pair of tokens: ``(num_heads, N, N)``."""
        index = self.relative_position_index
        # From the transposed table, so that the biases of a head are contiguous, as attention reads
        # them.
        bias = self.relative_position_bias_table.t().index_select(1, index.flatten())
        return bias.view(self.num_heads, *index.shape)

    def forward(
        self, x: Tensor, mask_kind: Tensor | None = None, masks: Tensor | None = None
    ) -> Tensor:
        """Attends within each window.

        Args:
            x: ``(num_windows, N, C)``.
            mask_kind: ``(num_windows,)`` int64, which of ``masks`` holds for each window; None for
                no mask.
            masks: ``(kinds, N, N)`` to be added to the logits.

        Returns:
            ``(num_windows, N, C)``.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (num_windows, N, 3, heads, d)
        dropout = self.attn_drop_rate if self.training else 0.0
        x = attend(qkv, self.position_bias(), mask_kind, masks, self.scale, dropout)
        return self.proj_drop(self.proj(x))
