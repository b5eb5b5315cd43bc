"""The Vision Transformer that is bootstrapped from, by the names of timm's checkpoints."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModule, initialize
from mmengine.model.weight_init import trunc_normal_
from mmengine.registry import MODELS
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.bootstrapped_sparse_former import HEAD_SIZE, TransformerBlock
from sparse_mm.models.backbones.sparse_former_unit import init_from_scratch
from sparse_mm.models.pretrained import load_pretrained, split_init_cfg

# Patterns of timm's names, whole, and ours.
TIMM_NAMES = {
    r'patch_embed\.proj\.(.*)': r'patch_embed.\1',
    r'norm_pre\.(.*)': r'pre_norm.\1',
    r'pos_embed': 'position',
    r'(blocks\.\d+)\.mlp\.fc1\.(.*)': r'\1.ffn.0.\2',
    r'(blocks\.\d+)\.mlp\.fc2\.(.*)': r'\1.ffn.2.\2',
}


def inner(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Takes a whole model's backbone; a backbone's own weights stay as they are."""
    found = {
        name.removeprefix('backbone.'): value
        for name, value in weights.items()
        if name.startswith('backbone.')
    }
    return found or dict(weights)


def from_timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the weights of a timm ViT; ours keep their names."""
    renamed = {}
    for name, value in weights.items():
        for pattern, new in TIMM_NAMES.items():
            if re.fullmatch(pattern, name):
                name = re.sub(pattern, new, name)
                break
        renamed[name] = value
    return renamed


@MODELS.register_module()
class TeacherViT(BaseModule):
    """A Vision Transformer with a class token and heads of 64 channels (Dosovitskiy, ICLR 2021).

    Its weights are those of timm's models of the same shape: ``vit_base_patch16_224.augreg_…``,
    ``vit_large_patch16_384.augreg_…``, and, with ``pre_norm``, ``vit_base_patch16_clip_224.openai``
    and ``vit_large_patch14_clip_224.openai``.

    Args:
        image_size: Side of the square images in pixels. Defaults to 224.
        patch_size: Side of a patch in pixels. Defaults to 16.
        dim: Channels of a token. Defaults to 768.
        depth: Blocks. Defaults to 12.
        activation: Of the FFNs, ``'gelu'`` or CLIP's ``'quick_gelu'``. Defaults to 'gelu'.
        pre_norm: Whether tokens are normalised before the first block, as CLIP's are, whose patches
            have no bias either. Defaults to False.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)``, or None to start from scratch. Defaults
            to None.

    Raises:
        BadInputError: Patches do not cover the image, or the width is no multiple of 64.
    """

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 16,
        dim: int = 768,
        depth: int = 12,
        activation: str = 'gelu',
        pre_norm: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if image_size % patch_size:
            raise BadInputError(
                f'image_size={image_size} must be a multiple of patch_size={patch_size}.'
            )
        if dim % HEAD_SIZE:
            raise BadInputError(f'dim={dim} must be a multiple of {HEAD_SIZE}, the head size.')
        epsilon = 1e-5 if pre_norm else 1e-6  # of CLIP, of all others
        self.num_features = dim
        self.patch_embed = nn.Conv2d(3, dim, patch_size, patch_size, bias=not pre_norm)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.zeros(1, 1 + (image_size // patch_size) ** 2, dim))
        self.pre_norm = nn.LayerNorm(dim) if pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(TransformerBlock(dim, activation) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = epsilon

    def init_weights(self) -> None:
        """Starts from the checkpoint of ``init_cfg``, or from scratch."""
        others, pretrained = split_init_cfg(self.init_cfg)
        if pretrained is None or others:
            init_from_scratch(self)
            for parameter in (self.cls_token, self.position):
                trunc_normal_(parameter, std=0.02)
            initialize(self, others)
        if pretrained is not None:
            load_pretrained(
                self,
                pretrained['checkpoint'],
                lambda weights: from_timm(inner(weights)),
                family='Vision Transformer',
                hint="; timm's checkpoints of ViTs fit",
                prefix=pretrained.get('prefix'),
            )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """``(B, 3, H, W)`` images -> the class token, normalised, ``(B, C)``.

        Raises:
            BadInputError: The images have another size than the model.
        """
        x = self.patch_embed(images).flatten(2).transpose(1, 2)  # (B, N, C)
        if x.shape[1] != self.position.shape[1] - 1:
            raise BadInputError(
                f'This ViT has positions for {self.position.shape[1] - 1} patches, the images have '
                f'{x.shape[1]}; set image_size to theirs.'
            )
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.position
        x = self.pre_norm(x)  # (B, 1 + N, C)
        for block in self.blocks:
            x = block(x, 0.0)
        return (self.norm(x[:, 0]),)


def inherit(student: Any, teacher: TeacherViT) -> None:
    """Gives a bootstrapped SparseFormer the last two thirds of a ViT's blocks, and its norm.

    Args:
        student: A :class:`~sparse_mm.models.BootstrappedSparseFormer`.
        teacher: With half as many blocks more than the student.

    Raises:
        BadInputError: Blocks or widths do not fit.
    """
    first = len(teacher.blocks) // 3
    own, theirs = student.num_features, teacher.num_features
    if len(teacher.blocks) - first != len(student.blocks) or own != theirs:
        raise BadInputError(
            f'A student inherits the last two thirds of its teacher: one of {len(teacher.blocks)} '
            f'blocks and {theirs} channels needs a student of {len(teacher.blocks) - first} and '
            f'{theirs}, not of {len(student.blocks)} and {own}.'
        )
    for block, source in zip(student.blocks, teacher.blocks[first:], strict=True):
        if type(block.ffn[1]) is not type(source.ffn[1]):
            raise BadInputError('The activations of student and teacher differ; set arch to fit.')
        block.load_state_dict(source.state_dict())
    student.norm.load_state_dict(teacher.norm.state_dict())
    with torch.no_grad():
        student.cls_token.copy_((teacher.cls_token + teacher.position[:, :1])[0])
