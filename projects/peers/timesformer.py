"""TimeSformer: attention along time, then over space."""

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from projects.peers.inputs import check_divisible, check_shape
from sparse_mm.models.backbones.sparse_former_unit import SelfAttention

EPSILON = 1e-6


class DividedBlock(nn.Module):
    """A block with divided space-time attention (section 3 of the paper).

    Args:
        dim: Channels of a token.
        num_heads: Attention heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.time_norm = nn.LayerNorm(dim, eps=EPSILON)
        self.time = SelfAttention(dim, num_heads)
        self.time_project = nn.Linear(dim, dim)
        self.space_norm = nn.LayerNorm(dim, eps=EPSILON)
        self.space = SelfAttention(dim, num_heads)
        self.ffn_norm = nn.LayerNorm(dim, eps=EPSILON)
        self.ffn = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, cls: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 1, C)`` class token and ``(B, T, N, C)`` patches -> the same."""
        frames = patches.shape[1]
        # Each place attends to itself in all frames; the class token takes no part.
        x = self.time_norm(patches).transpose(1, 2)  # (B, N, T, C)
        x = self.time_project(self.time(x.flatten(0, 1))).view_as(x)
        patches = patches + x.transpose(1, 2)
        # Each frame attends to itself and the class token; its copies are averaged afterwards.
        copies = cls.unsqueeze(1).expand(-1, frames, -1, -1)  # (B, T, 1, C)
        x = self.space_norm(torch.cat([copies, patches], dim=2))  # (B, T, 1 + N, C)
        x = self.space(x.flatten(0, 1)).view_as(x)
        cls, patches = cls + x[:, :, 0].mean(dim=1, keepdim=True), patches + x[:, :, 1:]
        x = torch.cat([cls, patches.flatten(1, 2)], dim=1)  # (B, 1 + T * N, C)
        x = x + self.ffn(self.ffn_norm(x))
        return x[:, :1], x[:, 1:].view_as(patches)


@MODELS.register_module()
class TimeSformer(BaseModule):
    """TimeSformer with divided space-time attention, as a classifier.

    Source of the method: Is Space-Time Attention All You Need for Video Understanding? (Bertasius
    et al., ICML 2021, https://arxiv.org/abs/2102.05095).

    Args:
        frames: Frames of a clip. Defaults to 8.
        image_size: Side of the square frames in pixels. Defaults to 224.
        patch_size: Side of a patch in pixels. Defaults to 16.
        dim: Channels of a token. Defaults to 768.
        depth: Blocks. Defaults to 12.
        num_heads: Attention heads. Defaults to 12.
        num_classes: Classes. Defaults to 400.
        init_cfg: Initialisation. Defaults to None.

    Raises:
        BadInputError: Patches do not cover the frames.
    """

    def __init__(
        self,
        frames: int = 8,
        image_size: int = 224,
        patch_size: int = 16,
        dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        num_classes: int = 400,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_divisible(dict(image_size=(image_size, patch_size)), 'TimeSformer')
        self.shape = 3, frames, image_size, image_size
        self.patch_embed = nn.Conv2d(3, dim, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, dim))
        self.space_position = nn.Parameter(torch.zeros(1 + (image_size // patch_size) ** 2, dim))
        self.time_position = nn.Parameter(torch.zeros(frames, 1, dim))
        self.blocks = nn.ModuleList(DividedBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, 3, T, H, W)`` clips -> ``(B, classes)`` logits.

        Raises:
            BadInputError: The clips have another size than the model.
        """
        check_shape(clips, self.shape, 'TimeSformer')
        batch, frames = len(clips), clips.shape[2]
        x = self.patch_embed(clips.transpose(1, 2).flatten(0, 1))  # (B * T, C, H / 16, W / 16)
        patches = x.flatten(2).transpose(1, 2).unflatten(0, (batch, frames))  # (B, T, N, C)
        patches = patches + self.space_position[1:] + self.time_position
        cls = (self.cls_token + self.space_position[:1]).expand(batch, 1, -1)
        for block in self.blocks:
            cls, patches = block(cls, patches)
        return self.head(self.norm(cls[:, 0]))
