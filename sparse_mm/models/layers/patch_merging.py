"""Patch merging, between the stages of Swin (Liu et al., ICCV 2021, section 3.1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from sparse_mm.models.layers.linear import Linear


class PatchMerging(nn.Module):
    """Joins each ``stride × stride`` patch of tokens into one.

    The weights are in the order of mmdet's ``PatchMerging``.

    Args:
        in_channels: Channels ``C`` of the map.
        out_channels: Channels of the smaller map.
        stride: Side of a patch.
        norm: Normalisation of the ``stride² * C`` joined channels, or None.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, norm: nn.Module | None
    ) -> None:
        super().__init__()
        self.stride = stride
        self.norm = norm
        self.reduction = Linear(stride * stride * in_channels, out_channels, bias=False)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Merges ``(B, H * W, C)`` to ``(B, H' * W', out_channels)``.

        Maps that the stride does not divide get zeros at the bottom and right.

        Returns:
            The smaller map and its ``(H', W')``.
        """
        batch, _, channels = x.shape
        (height, width), stride = hw_shape, self.stride
        x = x.view(batch, height, width, channels)
        if height % stride or width % stride:
            x = F.pad(x, (0, 0, 0, -width % stride, 0, -height % stride))
        down, across = x.shape[1] // stride, x.shape[2] // stride
        x = x.view(batch, down, stride, across, stride, channels)
        x = x.permute(
            0, 1, 3, 5, 2, 4
        )  # (B, H', W', C, stride, stride): channel by channel, as nn.Unfold has it
        x = x.reshape(batch, down * across, -1)
        if self.norm is not None:
            x = self.norm(x)
        return self.reduction(x), (down, across)
