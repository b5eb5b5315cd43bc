"""A stage of SparseViT and its blocks (Chen et al., CVPR 2023, section 3)."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmcv.cnn.bricks.drop import build_dropout
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparse_mm.models.layers.feed_forward import FeedForward
from sparse_mm.models.layers.parts import computes_in_parts
from sparse_mm.models.layers.patch_merging import PatchMerging
from sparse_mm.models.layers.window_attention import WindowMSA
from sparse_mm.models.layers.windows import (
    KeptWindows,
    flat_rows,
    gather_windows,
    rank_windows,
    real_tokens,
    scatter_windows,
    select_windows,
    split_windows,
    token_importance,
    window_grid,
)
from sparse_mm.models.ratios import num_kept

# Size of an FFN's hidden layer for the windows that a CPU computes at a time, in inference
# (docs/performance.md).
PART_BYTES = 12 * 2**20


class SparseBlock(BaseModule):
    """Attention and FFN in the kept windows; parameter names as in mmdet's ``SwinBlock``.

    Args:
        embed_dims: Channels ``C``.
        num_heads: Attention heads.
        feedforward_channels: Hidden channels of the FFN.
        window_size: Side of a window.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Overrides the attention's scale.
        drop_rate: Dropout after attention and in the FFN.
        attn_drop_rate: Dropout of attention weights.
        drop_path_rate: Stochastic depth, drawn per image.
        act_cfg: Activation of the FFN.
        norm_cfg: Normalisation layers.
        with_cp: Whether to compute the windows again in the backward pass.
        pad_before_norm: Whether padding tokens are zeros before (True) or after (False) the first
            normalisation.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        window_size: int,
        qkv_bias: bool,
        qk_scale: float | None,
        drop_rate: float,
        attn_drop_rate: float,
        drop_path_rate: float,
        act_cfg: dict,
        norm_cfg: dict,
        with_cp: bool,
        pad_before_norm: bool,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.pad_before_norm = pad_before_norm
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)[1]
        w_msa = WindowMSA(
            embed_dims, num_heads, window_size, qkv_bias, qk_scale, attn_drop_rate, drop_rate
        )
        self.attn = nn.ModuleDict({'w_msa': w_msa})
        self.drop_path = build_dropout(dict(type='DropPath', drop_prob=drop_path_rate))
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        activation = build_activation_layer(act_cfg)
        self.ffn = FeedForward(
            embed_dims, feedforward_channels, activation, drop_rate, self.drop_path
        )

    def forward(self, rows: Tensor, kept: KeptWindows, masks: Tensor | None) -> None:
        """Updates the rows of the kept windows in place.

        Args:
            rows: ``(B * L [+ 1], C)``, the stage's map.
            kept: The windows to compute.
            masks: ``(4, N, N)`` of the shifted grid; None on the regular grid.
        """
        if computes_in_parts(rows) and not self.training:
            hidden_bytes = 4 * kept.shape[2] * self.ffn.hidden_dims
            for part in split_windows(kept, max(1, PART_BYTES // hidden_bytes)):
                x = self._attend(gather_windows(rows, part), part, masks)
                targets, x = real_tokens(part, x)  # nobody reads what an FFN makes of padding
                rows.index_copy_(0, targets, self.ffn(self.norm2(x), x).to(rows.dtype))
            return
        windows = gather_windows(rows, kept)  # (B * k, N, C)
        if self.with_cp and torch.is_grad_enabled():
            windows = checkpoint(self._compute, windows, kept, masks, use_reentrant=False)
        else:
            windows = self._compute(windows, kept, masks)
        scatter_windows(rows, kept, windows)

    def _compute(self, windows: Tensor, kept: KeptWindows, masks: Tensor | None) -> Tensor:
        x = self._attend(windows, kept, masks)
        return self.ffn(self.norm2(x), x).view_as(windows)

    def _attend(self, windows: Tensor, kept: KeptWindows, masks: Tensor | None) -> Tensor:
        if kept.padding is not None and self.pad_before_norm:
            windows = windows.masked_fill(kept.padding, 0.0)
        x = self.norm1(windows)
        if kept.padding is not None and not self.pad_before_norm:
            x = x.masked_fill(kept.padding, 0.0)
        x = self.attn['w_msa'](x, kept.mask_kind, masks)
        # Stochastic depth drops whole images, so their tokens stand together: (B, k * N, C).
        images = kept.shape[0], -1, windows.shape[-1]
        return windows.view(images) + self.drop_path(x.view(images))


class SparseStage(BaseModule):
    """The blocks that share one map and one ranking of its windows, and the merging after them.

    Args:
        embed_dims: Channels ``C``.
        num_heads: Attention heads.
        feedforward_channels: Hidden channels of the FFNs.
        window_size: Side of a window.
        drop_path_rates: Stochastic depth of each block; their number is the depth.
        downsample: Patch merging after the blocks; None in the last stage.
        **block: The other arguments of :class:`SparseBlock`.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        window_size: int,
        drop_path_rates: Sequence[float],
        downsample: PatchMerging | None,
        **block: Any,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.blocks = ModuleList(
            SparseBlock(
                embed_dims,
                num_heads,
                feedforward_channels,
                window_size,
                drop_path_rate=rate,
                **block,
            )
            for rate in drop_path_rates
        )
        self.downsample = downsample

    def forward(
        self, x: Tensor, hw_shape: tuple[int, int], ratios: Sequence[Fraction]
    ) -> tuple[Tensor, tuple[int, int], Tensor, tuple[int, int]]:
        """Runs the blocks on the windows that the ratios leave, then merges patches.

        Args:
            x: ``(B, H * W, C)``, the caller's no more: blocks write into it.
            hw_shape: ``(H, W)``.
            ratios: One for each block, not decreasing.

        Returns:
            The input of the next stage with its shape, and the output of this one with its shape.
        """
        batch, length, channels = x.shape
        shifts = 0, self.window_size // 2
        grids = [window_grid(*hw_shape, self.window_size, shift, x.device) for shift in shifts]
        num_windows = len(grids[0].tokens)
        importance: Tensor | None = None
        rankings: list[Tensor | None] = [None, None]
        selected: dict[tuple[int, int], KeptWindows] = {}

        rows = flat_rows(x, grids[0])  # (B * L [+ 1], C)
        for i, (block, ratio) in enumerate(zip(self.blocks, ratios, strict=True)):
            kept, shifted = num_kept(num_windows, ratio), i % 2
            if kept < num_windows and importance is None:
                # Once per stage, on what its first sparse block sees.
                importance = token_importance(rows[: batch * length].view(batch, length, channels))
                rankings = [rank_windows(importance, grid) for grid in grids]
            if (kept, shifted) not in selected:
                selected[kept, shifted] = select_windows(
                    grids[shifted], rankings[shifted], kept, batch
                )
            block(rows, selected[kept, shifted], grids[shifted].masks)
        out = rows[: batch * length].view(batch, length, channels)
        if self.downsample is None:
            return out, hw_shape, out, hw_shape
        return *self.downsample(out, hw_shape), out, hw_shape
