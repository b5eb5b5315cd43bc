"""Attention inside windows, with relative position bias (Swin, ICCV 2021, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_mm.models.layers.linear import Linear


def relative_position_index(window_size: int) -> Tensor:
    """Which row of the bias table stands for each pair of tokens of a window.

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
        self.qkv = Linear(embed_dims, embed_dims * 3, bias=qkv_bias)
        self.proj = Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)

    def position_bias(self) -> Tensor:
        """The bias of every pair of tokens: ``(1, num_heads, N, N)``."""
        index = self.relative_position_index
        # Taken from the transposed table, each head's biases lie together, as attention reads them.
        bias = self.relative_position_bias_table.t().index_select(1, index.flatten())
        return bias.view(1, self.num_heads, *index.shape)

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
        windows, length, channels = x.shape
        qkv = self.qkv(x).view(windows, length, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(
            0
        )  # (num_windows, heads, N, C / heads)
        bias = self.position_bias()
        if mask_kind is not None and masks is not None:
            bias = (bias + masks.unsqueeze(1)).index_select(
                0, mask_kind
            )  # (num_windows, heads, N, N)
        x = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=bias.to(query.dtype),
            dropout_p=self.attn_drop_rate if self.training else 0.0,
            scale=self.scale,
        )
        x = x.transpose(1, 2).reshape(windows, length, channels)
        return self.proj_drop(self.proj(x))
