"""Patch merging, between the stages of Swin (Liu et al., ICCV 2021, section 3.1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from sparse_mm.models.layers.linear import Linear, lies_by_column, linear
from sparse_mm.models.layers.parts import join, parts

# Size of a part of the map in inference on a CPU: the product reads its weights for each.
PART_BYTES = 6 * 2**20


class PatchMerging(nn.Module):
    """Joins each ``stride × stride`` patch of tokens into one.

    The weights are in the order of mmdet's ``PatchMerging``, channel by channel as ``nn.Unfold``
    has it. The tokens of a patch are joined one behind the other instead, which copies whole
    tokens; so the weights, which are far smaller than a map, are brought to that order.

    Args:
        in_channels: Channels ``C`` of the map.
        out_channels: Channels of the smaller map.
        stride: Side of a patch.
        norm: Layer normalisation of joined patches; None for none.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, norm: nn.LayerNorm | None
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
        x = x.view(batch * down, stride, across, stride, channels)
        weight = self._by_token(self.reduction.weight)
        if self.norm is not None:
            scale, shift = self._by_token(self.norm.weight), self._by_token(self.norm.bias)

        def merge(part: Tensor) -> Tensor:
            part = part.transpose(1, 2).flatten(0, 1).flatten(1)  # (patches, stride² * C)
            if self.norm is not None:
                part = F.layer_norm(part, part.shape[-1:], scale, shift, self.norm.eps)
            return linear(part, weight)

        # Some rows of patches at a time.
        out = join((merge(part) for part in parts(x, PART_BYTES)), batch * down * across)
        return out.view(batch, down * across, -1), (down, across)

    def _by_token(self, parameter: Tensor) -> Tensor:
        """Brings ``(..., C * stride²)`` to the order ``stride² * C``."""
        if lies_by_column(parameter):  # then whole columns are copied
            columns = parameter.t().unflatten(0, (-1, self.stride**2))  # (C, stride², D)
            return columns.transpose(0, 1).flatten(0, 1).t()
        return parameter.unflatten(-1, (-1, self.stride**2)).transpose(-1, -2).flatten(-2)
