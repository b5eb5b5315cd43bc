"""A stage of SparseViT and its blocks (Chen et al., CVPR 2023, section 3)."""

from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction

import torch
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmcv.cnn.bricks.drop import build_dropout
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparse_mm.errors import BadInputError
from sparse_mm.models.layers.feed_forward import FeedForward
from sparse_mm.models.layers.patch_merging import PatchMerging
from sparse_mm.models.layers.window_attention import WindowMSA
from sparse_mm.models.layers.windows import (
    KeptWindows,
    StageWindows,
    gather_windows,
    scatter_windows,
)


class WindowBlock(BaseModule):
    """A block that computes the kept windows; the tokens of all others pass through.

    Subclasses implement :meth:`compute`.

    Args:
        with_cp: Whether to compute the windows again in the backward pass.
    """

    def __init__(self, with_cp: bool) -> None:
        super().__init__()
        self.with_cp = with_cp

    def forward(self, rows: Tensor, kept: KeptWindows) -> Tensor:
        """Computes the kept windows.

        Args:
            rows: ``(B * L [+ 1], C)``, the stage's map.
            kept: The windows to compute.

        Returns:
            The new map, ``(B * L [+ 1], C)``.
        """
        windows = gather_windows(rows, kept)  # (B * k, N, C)
        if self.with_cp and torch.is_grad_enabled():
            windows = checkpoint(self.compute, windows, kept, use_reentrant=False)
        else:
            windows = self.compute(windows, kept)
        return scatter_windows(rows, kept, windows)

    @abstractmethod
    def compute(self, windows: Tensor, kept: KeptWindows) -> Tensor:
        """Attention and FFN, ``(B * k, N, C)`` -> ``(B * k, N, C)``."""


class SparseBlock(WindowBlock):
    """Attention and FFN in the kept windows; parameter names as in mmdet's ``SwinBlock``.

    Args:
        embed_dims: Channels ``C``.
        num_heads: Attention heads.
        feedforward_channels: Hidden channels of the FFN.
        window_size: Side of a window.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Overrides the attention's scale.
        drop_rate: Dropout in the FFN.
        attn_drop_rate: Dropout of attention weights.
        proj_drop_rate: Dropout after attention.
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
        proj_drop_rate: float,
        drop_path_rate: float,
        act_cfg: dict,
        norm_cfg: dict,
        with_cp: bool,
        pad_before_norm: bool,
    ) -> None:
        super().__init__(with_cp)
        self.pad_before_norm = pad_before_norm
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)[1]
        w_msa = WindowMSA(
            embed_dims, num_heads, window_size, qkv_bias, qk_scale, attn_drop_rate, proj_drop_rate
        )
        self.attn = nn.ModuleDict({'w_msa': w_msa})
        self.drop_path = build_dropout(dict(type='DropPath', drop_prob=drop_path_rate))
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        activation = build_activation_layer(act_cfg)
        self.ffn = FeedForward(
            embed_dims, feedforward_channels, activation, drop_rate, self.drop_path
        )

    def compute(self, windows: Tensor, kept: KeptWindows) -> Tensor:
        """Attention and FFN, ``(B * k, N, C)`` -> ``(B * k, N, C)``."""
        if kept.padding is not None and self.pad_before_norm:
            windows = windows.masked_fill(kept.padding, 0.0)
        x = self.norm1(windows)
        if kept.padding is not None and not self.pad_before_norm:
            x = x.masked_fill(kept.padding, 0.0)
        x = self.attn['w_msa'](x, kept.mask_kind, kept.masks)
        # Stochastic depth drops whole images, so the tokens are grouped by image: (B, k * N, C).
        images = kept.shape[0], -1, windows.shape[-1]
        x = windows.view(images) + self.drop_path(x.view(images))
        return self.ffn(self.norm2(x), x).view_as(windows)


class SparseStage(BaseModule):
    """The blocks that share one map and one ranking of its windows, and the patch merging.

    Args:
        embed_dims: Channels ``C`` of the blocks.
        window_size: Side of a window.
        blocks: The blocks; every second one works on the shifted grid.
        downsample: Patch merging; None for none.
        merges_first: Whether the merging precedes the blocks, as in Swin V2; then it is called
            before the stage. Otherwise it follows the blocks.
        pad_small_map: Whether windows are also shifted, and padded, on maps that they cover. False:
            as in the original Swin and mmpretrain's, windows that cover the map are not shifted,
            and smaller maps are refused.
    """

    def __init__(
        self,
        embed_dims: int,
        window_size: int,
        blocks: Sequence[WindowBlock],
        downsample: PatchMerging | None,
        merges_first: bool = False,
        pad_small_map: bool = True,
    ) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.window_size = window_size
        self.blocks = ModuleList(blocks)
        self.downsample = downsample
        self.merges_first = merges_first
        self.pad_small_map = pad_small_map

    def forward(
        self, x: Tensor, hw_shape: tuple[int, int], ratios: Sequence[Fraction]
    ) -> tuple[Tensor, tuple[int, int], Tensor, tuple[int, int]]:
        """Runs the blocks on the windows that are kept, then merges patches.

        Args:
            x: ``(B, H * W, C)``.
            hw_shape: ``(H, W)``.
            ratios: One for each block, not decreasing.

        Returns:
            The input of the next stage with its shape, and the output of this one with its shape.

        Raises:
            BadInputError: The map is smaller than a window, and is not to be padded.
        """
        shift = self.shifts(hw_shape)
        windows = StageWindows(hw_shape, self.window_size, x.shape[0], x.device, shift)
        rows = windows.to_rows(x)  # (B * L [+ 1], C)
        for i, (block, ratio) in enumerate(zip(self.blocks, ratios, strict=True)):
            kept = windows.select(rows, ratio, shifted=i % 2 == 1)
            rows = block(rows, kept)
        out = windows.to_map(rows)  # (B, H * W, C)
        if self.downsample is None or self.merges_first:
            return out, hw_shape, out, hw_shape
        return *self.downsample(out, hw_shape), out, hw_shape

    def shifts(self, hw_shape: tuple[int, int]) -> bool:
        """Whether every second block shifts its windows on a map of ``(H, W)``."""
        if self.pad_small_map or min(hw_shape) > self.window_size:
            return True
        if min(hw_shape) < self.window_size:
            raise BadInputError(
                f'A map of {hw_shape[0]}x{hw_shape[1]} tokens is smaller than the window of '
                f'{self.window_size}; give larger images, set pad_small_map=True, or decrease '
                'window_size.'
            )
        return False
