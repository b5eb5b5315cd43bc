"""ViViT with a factorised encoder: spatial attention first, then temporal attention."""

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from projects.peers.inputs import check_divisible, check_shape
from sparse_mm.models.backbones.sparse_former_unit import SelfAttention

EPSILON = 1e-6


class Block(nn.Module):
    """A block of a Vision Transformer: attention and FFN, normalised before.

    Args:
        dim: Channels of a token.
        num_heads: Attention heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = SelfAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.ffn = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, dim)`` -> ``(B, N, dim)``."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.ffn(self.norm2(tokens))


class Encoder(nn.Module):
    """A Vision Transformer behind its patches: what its class token has become.

    Args:
        num_tokens: Tokens that come in, without the class token.
        dim: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
    """

    def __init__(self, num_tokens: int, dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, dim))
        self.position = nn.Parameter(torch.randn(1 + num_tokens, dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, num_heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, dim)`` -> ``(B, dim)``."""
        cls = self.cls_token.expand(len(tokens), 1, -1)
        tokens = torch.cat([cls, tokens], dim=1) + self.position  # (B, 1 + N, dim)
        return self.norm(self.blocks(tokens)[:, 0])


@MODELS.register_module()
class ViViT(BaseModule):
    """ViViT-B with the factorised encoder, as a classifier.

    Source of the method: ViViT: A Video Vision Transformer (Arnab et al., ICCV 2021,
    https://arxiv.org/abs/2103.15691), model 2. Tubelets of some frames become tokens; a spatial
    encoder makes one vector of each moment, a temporal encoder one of all moments.

    Args:
        frames: Frames of a clip. Defaults to 32.
        image_size: Side of the square frames in pixels. Defaults to 224.
        tubelet: Frames, height and width of a tubelet. Defaults to (2, 16, 16).
        dim: Channels of a token. Defaults to 768.
        depths: Blocks of the spatial and of the temporal encoder. Defaults to (12, 4).
        num_heads: Attention heads. Defaults to 12.
        num_classes: Classes. Defaults to 400.
        init_cfg: Initialisation. Defaults to None.

    Raises:
        BadInputError: Tubelets do not cover the clips.
    """

    def __init__(
        self,
        frames: int = 32,
        image_size: int = 224,
        tubelet: tuple[int, int, int] = (2, 16, 16),
        dim: int = 768,
        depths: tuple[int, int] = (12, 4),
        num_heads: int = 12,
        num_classes: int = 400,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        times, height, width = tubelet
        sides = dict(frames=(frames, times), height=(image_size, height), width=(image_size, width))
        check_divisible(sides, 'ViViT')
        self.shape = 3, frames, image_size, image_size
        self.patch_embed = nn.Conv3d(3, dim, tubelet, tubelet)
        places = (image_size // height) * (image_size // width)
        self.space = Encoder(places, dim, depths[0], num_heads)
        self.time = Encoder(frames // times, dim, depths[1], num_heads)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, 3, T, H, W)`` clips -> ``(B, classes)`` logits.

        Raises:
            BadInputError: The clips have another size than the model.
        """
        check_shape(clips, self.shape, 'ViViT')
        x = self.patch_embed(clips).flatten(3).permute(0, 2, 3, 1)  # (B, T / 2, N, C)
        batch, moments = x.shape[:2]
        x = self.space(x.flatten(0, 1)).view(batch, moments, -1)  # (B, T / 2, C)
        return self.head(self.time(x))
