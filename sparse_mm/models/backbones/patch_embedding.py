"""Patch embedding, the stem of Swin (Liu et al., ICCV 2021, section 3.1)."""

from mmcv.cnn.bricks.transformer import PatchEmbed
from torch import Tensor

from sparse_mm.models.layers.image_features import channels_together
from sparse_mm.models.layers.parts import computes_in_parts, join, parts


class PatchEmbedding(PatchEmbed):
    """mmcv's ``PatchEmbed`` for patches that do not overlap.

    In inference on a CPU some rows of patches are convolved and normalised at a time, with the
    channels of a pixel side by side.
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
        x = x.unflatten(2, (-1, side)).transpose(1, 2)  # (B, H', in_channels, side, W)
        batch, height = x.shape[:2]
        width = x.shape[-1] // side
        rows = (self._embed(part) for image in x for part in parts(image))
        tokens = join(rows, batch * height * width)
        return tokens.view(batch, height * width, -1), (height, width)

    def _embed(self, patches: Tensor) -> Tensor:
        """``(rows, in_channels, side, W)`` -> ``(rows * W', embed_dims)``."""
        pixels = patches.transpose(0, 1).flatten(1, 2).unsqueeze(0)  # (1, in_channels, h, W)
        tokens = self.projection(channels_together(pixels))  # (1, C, rows, W')
        tokens = tokens.permute(0, 2, 3, 1).flatten(0, 2)  # (rows * W', C)
        return tokens if self.norm is None else self.norm(tokens)
