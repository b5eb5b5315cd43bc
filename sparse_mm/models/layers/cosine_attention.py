"""Attention of Swin V2 (Liu et al., CVPR 2022, section 3): cosine similarity, continuous bias."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_mm.models.layers.window_attention import attend_heads, relative_position_index

# The largest scale of the cosines, and the range of the position bias (section 3.2).
LARGEST_SCALE = 100.0
BIAS_RANGE = 16.0


def log_spaced_coords(window_size: int, pretrained_window_size: int = 0) -> Tensor:
    """Log-spaced relative coordinates of the tokens of a window (section 3.3).

    Args:
        window_size: Side ``S`` of the window.
        pretrained_window_size: Side of the pre-training's windows, whose coordinates go from -8 to
            8; 0 for ``window_size``.

    Returns:
        ``(1, 2 * S - 1, 2 * S - 1, 2)`` float32.
    """
    farthest = (pretrained_window_size or window_size) - 1
    steps = torch.arange(1 - window_size, window_size, dtype=torch.float32)
    steps = steps * (8 / max(farthest, 1))
    steps = steps.sign() * (steps.abs() + 1).log2() / math.log2(8)
    return torch.stack(torch.meshgrid(steps, steps, indexing='ij'), dim=-1).unsqueeze(0)


class CosineWindowMSA(nn.Module):
    """Multi-head self-attention by cosine similarity among the tokens of each window.

    Parameter names are those of mmpretrain's ``WindowMSAV2``.

    Args:
        embed_dims: Channels ``C``.
        num_heads: Attention heads; divides ``embed_dims``.
        window_size: Side of a window.
        qkv_bias: Whether queries and values have a bias; keys have none.
        attn_drop_rate: Dropout of the attention weights.
        proj_drop_rate: Dropout of the output.
        pretrained_window_size: See :func:`log_spaced_coords`.
        cpb_hidden_dims: Hidden channels of the network that makes the position bias.
    """

    relative_position_index: Tensor
    relative_coords_table: Tensor

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window_size: int,
        qkv_bias: bool = True,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        pretrained_window_size: int = 0,
        cpb_hidden_dims: int = 512,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(
                f'{embed_dims} channels cannot be shared out evenly to {num_heads} heads.'
            )
        self.num_heads = num_heads
        self.attn_drop_rate = attn_drop_rate
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, cpb_hidden_dims),
            nn.ReLU(),
            nn.Linear(cpb_hidden_dims, num_heads, bias=False),
        )
        self.logit_scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10.0)))
        self.register_buffer(
            'relative_coords_table', log_spaced_coords(window_size, pretrained_window_size)
        )
        self.register_buffer('relative_position_index', relative_position_index(window_size))
        self.qkv = nn.Linear(embed_dims, embed_dims * 3, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(embed_dims)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(embed_dims)) if qkv_bias else None
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)

    def position_bias(self) -> Tensor:
        """The bias of every pair of tokens: ``(num_heads, N, N)``."""
        index = self.relative_position_index
        table = self.cpb_mlp(self.relative_coords_table).flatten(0, 2)  # (pairs, num_heads)
        bias = table.t().index_select(1, index.flatten()).view(self.num_heads, *index.shape)
        return BIAS_RANGE * bias.sigmoid()

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
        bias = None
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (num_windows, heads, N, d) each
        scale = self.logit_scale.clamp(max=math.log(LARGEST_SCALE)).exp()  # (heads, 1, 1)
        query = (F.normalize(query, dim=-1) * scale).to(value.dtype)
        key = F.normalize(key, dim=-1).to(value.dtype)
        dropout = self.attn_drop_rate if self.training else 0.0
        x = attend_heads(
            query, key, value, self.position_bias(), mask_kind, masks, 1.0, dropout
        )  # (num_windows, N, C)
        return self.proj_drop(self.proj(x))
