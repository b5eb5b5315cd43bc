"""Perceiver: latents that attend to all pixels, eight times."""

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from projects.peers.inputs import check_shape
from projects.peers.latent_attention import LatentLayer, fourier_positions, fresh_latents


@MODELS.register_module()
class Perceiver(BaseModule):
    """Perceiver on the pixels of an image, as a classifier.

    Source of the method: Perceiver: General Perception with Iterative Attention (Jaegle et al.,
    ICML 2021, https://arxiv.org/abs/2103.03206), in its setting for ImageNet. Latents attend to all
    pixels, each with its Fourier position, then to themselves in a block of layers, and so on. The
    first cross-attention has weights of its own, all later ones share theirs, and so do all blocks.

    Args:
        image_size: Side of the square images in pixels. Defaults to 224.
        num_latents: Latents. Defaults to 512.
        dim: Channels of a latent. Defaults to 1024.
        cross_attends: How often the latents attend to the pixels, each time followed by the block.
            Defaults to 8.
        block_depth: Layers of the block. Defaults to 6.
        num_heads: Attention heads in the block; cross-attention has one. Defaults to 8.
        bands: Waves of the positions along each axis. Defaults to 64.
        num_classes: Classes. Defaults to 1000.
        init_cfg: Initialisation. Defaults to None.
    """

    def __init__(
        self,
        image_size: int = 224,
        num_latents: int = 512,
        dim: int = 1024,
        cross_attends: int = 8,
        block_depth: int = 6,
        num_heads: int = 8,
        bands: int = 64,
        num_classes: int = 1000,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.image_size, self.cross_attends = image_size, cross_attends
        positions = fourier_positions(image_size, image_size, bands)
        self.register_buffer('positions', positions, persistent=False)
        channels = 3 + positions.shape[-1]
        self.latents = fresh_latents(num_latents, dim)
        self.looks = nn.ModuleList(LatentLayer(dim, channels) for _ in range(min(cross_attends, 2)))
        self.block = nn.ModuleList(
            LatentLayer(dim, num_heads=num_heads) for _ in range(block_depth)
        )
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` images -> ``(B, classes)`` logits.

        Raises:
            BadInputError: The images have another size than the model.
        """
        check_shape(images, (3, self.image_size, self.image_size), 'Perceiver')
        batch = len(images)
        pixels = images.flatten(2).transpose(1, 2)  # (B, H * W, 3)
        pixels = torch.cat([pixels, self.positions.expand(batch, -1, -1)], -1)
        latents = self.latents.expand(batch, -1, -1)  # (B, N, dim)
        for i in range(self.cross_attends):
            latents = self.looks[min(i, 1)](latents, pixels)
            for layer in self.block:
                latents = layer(latents)
        return self.head(latents.mean(dim=1))
