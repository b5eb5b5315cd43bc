"""Sizes of padded maps, as integer expressions that stay simple for symbolic sizes.

In a graph for any image size, which ``torch.compile`` makes from the second size on, sizes are
expressions. Each layer derives its size from that of the layer before, so an expression that is not
simplified doubles from layer to layer, until a graph takes hours to compile. ``H + (-H % 4)`` is
such a form; four times ``(H + 3) // 4`` is not.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def ceil_div(size: int, step: int) -> int:
    """How many steps cover a size."""
    return (size + step - 1) // step


class CornerPadding(nn.Module):
    """Zeros at the bottom and right, up to a multiple of the patch.

    What mmcv's ``AdaptivePadding(padding='corner')`` does for patches that do not overlap.

    Args:
        patch: ``(height, width)`` in pixels.
    """

    def __init__(self, patch: tuple[int, int]) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, images: Tensor) -> Tensor:
        """Pads ``(..., H, W)``."""
        height, width = images.shape[-2:]
        down, across = self.patch
        if height % down == 0 and width % across == 0:
            return images
        below = ceil_div(height, down) * down - height
        beside = ceil_div(width, across) * across - width
        return F.pad(images, (0, beside, 0, below))
