"""Patch embedding, the stem of Swin (Liu et al., ICCV 2021, section 3.1)."""

from mmcv.cnn.bricks.transformer import PatchEmbed
from torch import Tensor

from sparse_mm.models.layers.image_features import channels_together
from sparse_mm.models.layers.linear import linear
from sparse_mm.models.layers.parts import computes_in_parts, join, parts


class PatchEmbedding(PatchEmbed):
    """mmcv's ``PatchEmbed`` for patches that do not overlap.

    In inference on a CPU it is computed as what it equals, a linear layer on the pixels of each
    patch, normalisation included for some rows of patches at a time.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embeds ``(B, in_channels, H, W)`` as ``(B, H' * W', embed_dims)``.

        Returns:
            The tokens and their ``(H', W')``.
        """
        if not computes_in_parts(x):
            return super().forward(channels_together(x))
        if self.adaptive_padding:
            x = self.adaptive_padding(x)
        side = self.projection.stride[0]
        x = x.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        x = x.permute(0, 2, 4, 1, 3, 5)  # (B, H', W', in_channels, side, side)
        batch, height, width = x.shape[:3]
        rows = (self._embed(part) for image in x for part in parts(image))
        tokens = join(rows, batch * height * width)
        return tokens.view(batch, height * width, -1), (height, width)

    def _embed(self, patches: Tensor) -> Tensor:
        """``(rows, W', in_channels, side, side)`` -> ``(rows * W', embed_dims)``."""
        pixels = patches.flatten(0, 1).flatten(1)
        tokens = linear(pixels, self.projection.weight.flatten(1), self.projection.bias)
        return tokens if self.norm is None else self.norm(tokens)
