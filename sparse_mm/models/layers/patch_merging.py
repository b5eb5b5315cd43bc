"""Patch merging, between the stages of Swin (Liu et al., ICCV 2021, section 3.1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from sparse_mm.models.layers.sizes import ceil_div


class PatchMerging(nn.Module):
    """Merges each ``kernel × kernel`` patch of tokens into one, ``stride`` tokens apart.

    The channels of a merged patch are in the order of mmdet's ``PatchMerging``, channel by channel
    as in ``nn.Unfold``, so its weights can be loaded.

    Args:
        in_channels: Channels ``C`` of the map.
        out_channels: Channels of the smaller map.
        stride: Distance of the patches.
        norm: Normalisation of merged patches; None for none.
        norm_after: Whether the normalisation is of the smaller map instead, as in Swin V2. Defaults
            to False.
        bias: Whether the linear layer has a bias. Defaults to False.
        kernel: Side of a patch; None for ``stride``. Defaults to None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: nn.Module | None,
        norm_after: bool = False,
        bias: bool = False,
        kernel: int | None = None,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.kernel = kernel or stride
        self.norm = norm
        self.norm_after = norm_after
        self.reduction = nn.Linear(self.kernel**2 * in_channels, out_channels, bias=bias)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Merges ``(B, H * W, C)`` to ``(B, H' * W', out_channels)``.

        Maps in which the last patches do not fit get zeros at the bottom and right.

        Returns:
            The smaller map and its ``(H', W')``.
        """
        x = self.to_patches(x.unflatten(1, hw_shape))  # (B, H', W', C * kernel²)
        x = x.flatten(1, 2)
        if self.norm is not None and not self.norm_after:
            x = self.norm(x)
        x = self.reduction(x)  # (B, H' * W', out_channels)
        if self.norm is not None and self.norm_after:
            x = self.norm(x)
        return x, (ceil_div(hw_shape[0], self.stride), ceil_div(hw_shape[1], self.stride))

    def to_patches(self, x: Tensor) -> Tensor:
        """Joins the tokens of each patch: ``(B, H, W, C)`` -> ``(B, H', W', C * kernel²)``."""
        stride, kernel = self.stride, self.kernel
        height, width = x.shape[1:3]
        down, across = ceil_div(height, stride), ceil_div(width, stride)  # H', W'
        below = max((down - 1) * stride + kernel - height, 0)
        beside = max((across - 1) * stride + kernel - width, 0)
        if below or beside:
            x = F.pad(x, (0, 0, 0, beside, 0, below))
        if kernel != stride:
            x = x.unfold(1, kernel, stride).unfold(2, kernel, stride)  # (B, H', W', C, k, k)
            return x.flatten(3)
        x = x.unflatten(2, (across, stride)).unflatten(1, (down, stride))  # (B, H', s, W', s, C)
        return x.permute(0, 1, 3, 5, 2, 4).flatten(3)
