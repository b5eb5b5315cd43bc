"""Patch merging, between the stages of Swin (Liu et al., ICCV 2021, section 3.1)."""

import torch.nn.functional as F
from torch import Tensor, nn


class PatchMerging(nn.Module):
    """Joins each ``stride × stride`` patch of tokens into one.

    The channels of a joined patch are in the order of mmdet's ``PatchMerging``, channel by channel
    as ``nn.Unfold`` has it, so its weights load as they are.

    Args:
        in_channels: Channels ``C`` of the map.
        out_channels: Channels of the smaller map.
        stride: Side of a patch.
        norm: Normalisation of joined patches; None for none.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, norm: nn.Module | None
    ) -> None:
        super().__init__()
        self.stride = stride
        self.norm = norm
        self.reduction = nn.Linear(stride * stride * in_channels, out_channels, bias=False)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Merges ``(B, H * W, C)`` to ``(B, H' * W', out_channels)``.

        Maps that the stride does not divide get zeros at the bottom and right.

        Returns:
            The smaller map and its ``(H', W')``.
        """
        x = self.to_patches(x.unflatten(1, hw_shape))  # (B, H', W', C * stride²)
        x = x.flatten(1, 2)
        if self.norm is not None:
            x = self.norm(x)
        height, width = (-(-side // self.stride) for side in hw_shape)
        return self.reduction(x), (height, width)

    def to_patches(self, x: Tensor) -> Tensor:
        """Joins the tokens of each patch: ``(B, H, W, C)`` -> ``(B, H', W', C * stride²)``."""
        stride = self.stride
        height, width = x.shape[1:3]
        if height % stride or width % stride:
            x = F.pad(x, (0, 0, 0, -width % stride, 0, -height % stride))
        x = x.unflatten(2, (-1, stride)).unflatten(1, (-1, stride))  # (B, H', s, W', s, C)
        return x.permute(0, 1, 3, 5, 2, 4).flatten(3)
