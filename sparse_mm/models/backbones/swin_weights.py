"""Swin weights in all common layouts, recognised by their names.

mmdet, mmseg and mmpretrain use the same names. The original repository has other names and another
order of the merged patches; timm has the original's names with the patch merging at the start of a
stage. Weights of torchvision and transformers are first translated to the original's names. Swin V2
is recognised by its ``logit_scale``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.swin_of_libraries import (
    TORCHVISION,
    TRANSFORMERS,
    by_original_names,
)

# Buffers that follow from the window size and are never loaded from a checkpoint.
_DERIVED = 'relative_position_index', 'relative_coords_table', 'attn_mask'
_V1, _V2 = '.relative_position_bias_table', '.logit_scale'


def from_any_layout(weights: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Converts a checkpoint's weights to the names, order and sizes of a backbone.

    Args:
        weights: Of a Swin, or of a whole model with one.
        model: The backbone.

    Returns:
        The weights under the backbone's names. Other weights are unchanged.

    Raises:
        BadInputError: They are of the other version of Swin, or parts of them are missing.
    """
    weights = by_original_names(weights)
    weights = {name: value for name, value in inner_weights(weights).items() if not _derived(name)}
    # timm's feature-extraction models have each stage as an attribute.
    weights = {re.sub(r'^layers_(\d+)\.', r'layers.\1.', n): v for n, v in weights.items()}
    own = model.state_dict()
    for mark, name in ((_V1, 'SparseViT'), (_V2, 'SparseViTV2')):
        theirs = any(key.endswith(mark) for key in weights)
        if theirs and not any(key.endswith(mark) for key in own):
            raise BadInputError(
                f'The checkpoint is one of Swin{" V2" if mark == _V2 else ""}, which this backbone '
                f"is not; build it with type='{name}'."
            )
    if any(re.match(r'layers\.\d+\.blocks\.', name) for name in weights):
        weights = _from_original(weights, any(key.endswith(_V2) for key in own))
    return fit_sizes(rename_last_norm(weights, len(model.stages)), model)


def layout_of(weights: Mapping[str, Tensor]) -> str | None:
    """The layout of Swin weights; None for that of the hosts, and for other weights."""
    if any(map(TORCHVISION.match, weights)):
        return 'torchvision'
    if any(map(TRANSFORMERS.match, weights)):
        return 'transformers'
    if any(re.search(r'(^|\.)layers[._]\d+\.blocks\.\d+\.attn\.', name) for name in weights):
        return 'timm or the original repository'
    return None


def inner_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Selects the weights with the same prefix as the patch embedding, of a whole model.

    Raises:
        BadInputError: There are several backbones, and none is preferred.
    """
    prefixes = sorted(
        {name.partition('patch_embed.proj')[0] for name in weights if 'patch_embed.proj' in name},
        key=lambda prefix: (len(prefix), prefix),
    )
    if len(prefixes) > 1 and len(prefixes[0]) == len(prefixes[1]):
        raise BadInputError(
            f'The file contains several Swins, as {prefixes[0] + "…"!r} and '
            f'{prefixes[1] + "…"!r}; name one by prefix={prefixes[0].rstrip(".")!r} in init_cfg.'
        )
    for prefix in prefixes[:1]:
        return {
            name.removeprefix(prefix): value
            for name, value in weights.items()
            if name.startswith(prefix)
        }
    return dict(weights)


def rename_last_norm(weights: dict[str, Tensor], stages: int) -> dict[str, Tensor]:
    """Renames the single output norm of classifiers, ``norm``, to that of the last stage."""
    return {
        re.sub(r'^norm\.', f'norm{stages - 1}.', name): value for name, value in weights.items()
    }


def fit_sizes(weights: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Resizes bias tables for the model's windows, and its position embedding for its images."""
    own = model.state_dict()
    for name, value in weights.items():
        if name not in own or own[name].shape == value.shape:
            continue
        target = own[name]
        if name.endswith('relative_position_bias_table') and value.shape[1:] == target.shape[1:]:
            weights[name] = _resize_bias_table(value, target)
        if name == 'absolute_pos_embed' and value.shape[2:] == target.shape[2:]:
            mode = model.interpolate_mode
            grid = _resize_square(value[0].t(), model.position_shape, mode)
            weights[name] = grid.t().unsqueeze(0)
    return weights


def _derived(name: str) -> bool:
    return name.endswith(_DERIVED)


def _from_original(weights: Mapping[str, Tensor], version_2: bool) -> dict[str, Tensor]:
    """Translates the original repository's and timm's names, and their order of merged patches."""
    timm = not any(name.startswith('layers.0.downsample.') for name in weights)
    # Place of the patch merging: timm and mmpretrain's V2 have it at the start of a stage.
    move = int(version_2) - int(timm)
    renamed = {}
    for name, value in weights.items():
        if name.startswith('head.'):
            continue
        merging = re.match(r'layers\.(\d+)\.downsample\.(.*)', name)
        if merging:
            name = f'stages.{int(merging[1]) + move}.downsample.{merging[2]}'
            # Weights along the merged channels: all but V2's norm, which follows the product.
            joined = merging[2] == 'reduction.weight' or not version_2
            renamed[name] = _unfold_order(value) if joined else value
            continue
        name = re.sub(r'^layers\.', 'stages.', name)
        name = name.replace('.attn.', '.attn.w_msa.')
        name = name.replace('.mlp.fc1.', '.ffn.layers.0.0.').replace('.mlp.fc2.', '.ffn.layers.1.')
        renamed[name.replace('patch_embed.proj.', 'patch_embed.projection.')] = value
    return renamed


def _unfold_order(value: Tensor) -> Tensor:
    """From patches concatenated by columns to mmdet's order, channel by channel."""
    patches = value.unflatten(-1, (4, -1))[..., torch.tensor([0, 2, 1, 3]), :]  # (..., 4, C)
    return patches.transpose(-1, -2).flatten(-2)  # (..., C * 4)


def _resize_bias_table(table: Tensor, target: Tensor) -> Tensor:
    """Resizes a bias table for another window size: ``(S², heads)`` -> ``(T², heads)``."""
    side = round(len(target) ** 0.5)
    return _resize_square(table.t(), (side, side)).t().contiguous()


def _resize_square(rows: Tensor, shape: tuple[int, int], mode: str = 'bicubic') -> Tensor:
    """Resizes square pictures: ``(C, s * s)`` -> ``(C, H * W)``."""
    side = round(rows.shape[1] ** 0.5)
    if side * side != rows.shape[1]:
        raise BadInputError(
            f'The checkpoint has a position embedding of {rows.shape[1]} tokens, which is no '
            'square and cannot be resized; give the same image size as its own.'
        )
    return resize_positions(rows.t().unsqueeze(0), (side, side), shape, mode)[0].t()


def resize_positions(
    embedding: Tensor, shape: Sequence[int], new_shape: Sequence[int], mode: str = 'bicubic'
) -> Tensor:
    """Resizes a position embedding from a map of ``(h, w)`` to ``(H, W)``.

    Args:
        embedding: ``(1, h * w, C)``.
        shape: ``(h, w)``.
        new_shape: ``(H, W)``.
        mode: Of the interpolation.

    Returns:
        ``(1, H * W, C)``.
    """
    grid = embedding.transpose(1, 2).unflatten(2, tuple(shape))  # (1, C, h, w)
    corners = None if mode in ('nearest', 'area', 'nearest-exact') else False
    grid = F.interpolate(grid.float(), size=tuple(new_shape), mode=mode, align_corners=corners)
    return grid.to(embedding.dtype).flatten(2).transpose(1, 2)  # (1, H * W, C)
