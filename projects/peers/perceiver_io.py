"""Perceiver IO: latents attend to the image once; a class query attends to them."""

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from projects.peers.inputs import check_divisible, check_shape
from projects.peers.latent_attention import LatentLayer, fourier_positions, fresh_latents


@MODELS.register_module()
class PerceiverIO(BaseModule):
    """Perceiver IO behind a convolution, as a classifier.

    Source of the method: Perceiver IO: A General Architecture for Structured Inputs & Outputs
    (Jaegle et al., ICLR 2022, https://arxiv.org/abs/2107.14795), in its setting for ImageNet with
    convolutional preprocessing. A convolution and a pooling leave a map of a quarter of the side;
    latents attend to it once, then to themselves in one block of layers, eight times with shared
    weights. A learnt query attends to the latents, and becomes the logits.

    Args:
        image_size: Side of the square images in pixels, a multiple of 4. Defaults to 224.
        num_latents: Latents. Defaults to 512.
        dim: Channels of a latent. Defaults to 1024.
        blocks: How often the block runs. Defaults to 8.
        block_depth: Layers of the block. Defaults to 6.
        num_heads: Attention heads in the block; cross-attention has one. Defaults to 8.
        channels: Channels of the convolution. Defaults to 64.
        bands: Waves of the positions along each axis. Defaults to 64.
        num_classes: Classes. Defaults to 1000.
        init_cfg: Initialisation. Defaults to None.

    Raises:
        BadInputError: The image's side is no multiple of 4.
    """

    def __init__(
        self,
        image_size: int = 224,
        num_latents: int = 512,
        dim: int = 1024,
        blocks: int = 8,
        block_depth: int = 6,
        num_heads: int = 8,
        channels: int = 64,
        bands: int = 64,
        num_classes: int = 1000,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_divisible(dict(image_size=(image_size, 4)), 'PerceiverIO')
        self.image_size, self.blocks = image_size, blocks
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        positions = fourier_positions(image_size // 4, image_size // 4, bands)
        self.register_buffer('positions', positions, persistent=False)
        self.latents = fresh_latents(num_latents, dim)
        self.look = LatentLayer(dim, channels + positions.shape[-1])
        self.block = nn.ModuleList(
            LatentLayer(dim, num_heads=num_heads) for _ in range(block_depth)
        )
        self.query = fresh_latents(1, dim)
        self.decode = LatentLayer(dim, dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` images -> ``(B, classes)`` logits.

        Raises:
            BadInputError: The images have another size than the model.
        """
        check_shape(images, (3, self.image_size, self.image_size), 'Perceiver IO')
        batch = len(images)
        places = self.stem(images).flatten(2).transpose(1, 2)  # (B, H / 4 * W / 4, channels)
        places = torch.cat([places, self.positions.expand(batch, -1, -1)], -1)
        latents = self.look(self.latents.expand(batch, -1, -1), places)  # (B, N, dim)
        for _ in range(self.blocks):
            for layer in self.block:
                latents = layer(latents)
        output = self.decode(self.query.expand(batch, -1, -1), latents)  # (B, 1, dim)
        return self.head(output[:, 0])
