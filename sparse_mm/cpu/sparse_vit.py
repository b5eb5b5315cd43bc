"""SparseViT's inference pass on a CPU: the same steps, in chunks that fit the cache, in place.

Windows, ranking, position bias and weights are those of the model. This file contains only their
processing on a CPU.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.model import ModuleList
from torch import Tensor, nn

from sparse_mm.cpu.conditions import may_take
from sparse_mm.cpu.linear import linear
from sparse_mm.cpu.parts import (
    WindowsInParts,
    channels_first,
    join,
    parts,
    real_tokens,
    split_windows,
)
from sparse_mm.models.backbones.mmpretrain_swin import MMPretrainSparseViT
from sparse_mm.models.backbones.sparse_stage import SparseBlock, SparseStage
from sparse_mm.models.backbones.sparse_vit import SparseViT
from sparse_mm.models.executors import Mark, ignore
from sparse_mm.models.layers.feed_forward import FeedForward
from sparse_mm.models.layers.patch_merging import PatchMerging
from sparse_mm.models.layers.sizes import CornerPadding
from sparse_mm.models.layers.window_attention import WindowMSA, attend
from sparse_mm.models.layers.windows import KeptWindows, gather_windows

# Size of an FFN's hidden layer for the windows that are computed at a time (docs/performance.md).
BLOCK_BYTES = 12 * 2**20
# Size of a part of the map that is merged (likewise).
MERGING_BYTES = 2 * 2**20

KNOWN: frozenset[type] = frozenset(
    {
        *(
            SparseViT,
            MMPretrainSparseViT,
            SparseStage,
            SparseBlock,
            WindowMSA,
            FeedForward,
            PatchMerging,
        ),
        *(PatchEmbed, CornerPadding, DropPath, ModuleList, nn.ModuleDict, nn.Sequential),
        *(nn.Identity, nn.Conv2d, nn.Linear, nn.LayerNorm, nn.Dropout, nn.GELU, nn.ReLU),
    }
)


class SparseViTOnCPU:
    """The executor of :class:`~sparse_mm.models.SparseViT`."""

    def takes(self, model: nn.Module, images: Tensor) -> bool:
        """Whether the pass is one of inference, by a model as it was built, in fp32 or bf16."""
        return (
            type(model) in (SparseViT, MMPretrainSparseViT)
            and may_take(model, images, KNOWN)
            and _is_laid_out(model)
        )

    def run(self, model: Any, images: Tensor, mark: Mark = ignore) -> tuple[Tensor, ...]:
        """Computes the pass; see :class:`~sparse_mm.models.executors.Executor`."""
        x, hw_shape = _embed(model, images)  # (B, H' * W', C)
        outs = []
        # Steps have functions of their own, so that a map is freed once the next one is there.
        for i, stage in enumerate(model.stages):
            x = _run_blocks(model, i, x, hw_shape, mark)
            if i in model.out_indices:
                normalised = channels_first(x, getattr(model, f'norm{i}'))  # (B, C, L)
                outs.append(normalised.unflatten(2, hw_shape))
                mark(('stem',))
            if stage.downsample is not None:
                x, hw_shape = _merge(stage.downsample, x, hw_shape)
            mark(('stage', i))
        return tuple(outs)


def _is_laid_out(model: Any) -> bool:
    """Whether layers that are read here without being called are those of the constructor.

    A layer may have been replaced by another of a known type, or one may have been added.
    """
    projection = model.patch_embed.projection
    side = projection.stride[0]
    patches_apart = (
        type(projection) is nn.Conv2d
        and projection.kernel_size == projection.stride == (side, side)
        and projection.padding == (0, 0)
        and projection.dilation == (1, 1)
    )
    if model.out_after_downsample or not patches_apart:
        return False
    return all(
        _is_usual_merging(stage.downsample) and all(map(_is_usual_block, stage.blocks))
        for stage in model.stages
    )


def _is_usual_block(block: Any) -> bool:
    w_msa, layers = block.attn['w_msa'], block.ffn.layers
    return (
        type(w_msa.qkv) is nn.Linear
        and type(w_msa.proj) is nn.Linear
        and [type(layer) for layer in layers] == [nn.Sequential, nn.Linear, nn.Dropout]
        and len(layers[0]) == 3
        and type(layers[0][0]) is nn.Linear
        and type(layers[0][1]) in (nn.GELU, nn.ReLU)
        and type(layers[0][2]) is nn.Dropout
    )


def _is_usual_merging(merging: Any) -> bool:
    if merging is None:
        return True
    norm, reduction = merging.norm, merging.reduction
    usual_norm = norm is None or (type(norm) is nn.LayerNorm and norm.bias is not None)
    return usual_norm and type(reduction) is nn.Linear and reduction.bias is None


def _embed(model: SparseViT, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Patch embedding of some rows of patches at a time, channels of a pixel side by side."""
    patch_embed: Any = model.patch_embed
    if patch_embed.adaptive_padding:
        images = patch_embed.adaptive_padding(images)
    side = patch_embed.projection.stride[0]
    strips = images.unflatten(2, (-1, side)).transpose(1, 2)  # (B, H', in_channels, side, W)
    batch, height = strips.shape[:2]
    width = strips.shape[-1] // side

    def embed(strip: Tensor) -> Tensor:
        pixels = strip.transpose(0, 1).flatten(1, 2).unsqueeze(0)  # (1, in_channels, h, W)
        tokens = patch_embed.projection(pixels.contiguous(memory_format=torch.channels_last))
        tokens = tokens.permute(0, 2, 3, 1).flatten(0, 2)  # (rows * W', C)
        return tokens if patch_embed.norm is None else patch_embed.norm(tokens)

    cut = (embed(strip) for image in strips for strip in parts(image))
    x = join(cut, batch * height * width).view(batch, height * width, -1)
    if model.use_abs_pos_embed:
        x += model.position_embedding((height, width))
    return x, (height, width)


def _run_blocks(
    model: Any, stage_index: int, x: Tensor, hw_shape: tuple[int, int], mark: Mark
) -> Tensor:
    """Runs a stage's blocks: ``(B, L, C)`` -> ``(B, L, C)``, in the same memory where it can."""
    stage, ratios = model.stages[stage_index], model.ratios_in_force()[stage_index]
    windows = WindowsInParts(hw_shape, stage.window_size, len(x), x.device, stage.shifts(hw_shape))
    rows = windows.to_rows(x)  # (B * L [+ 1], C), ours: nobody else has seen x
    mark(('stem',))
    for j, (block, ratio) in enumerate(zip(stage.blocks, ratios, strict=True)):
        kept = windows.select(rows, ratio, shifted=j % 2 == 1)
        mark(('stage', stage_index))
        _run_block(block, rows, kept)
        mark(('block', stage_index, j))
    return windows.to_map(rows)


def _run_block(block: SparseBlock, rows: Tensor, kept: KeptWindows) -> None:
    """Computes a block's windows, some at a time, and writes them into ``rows``."""
    w_msa: Any = block.attn['w_msa']
    bias = w_msa.position_bias()  # (heads, N, N)
    hidden_bytes = rows.element_size() * kept.shape[2] * block.ffn.hidden_dims
    for part in split_windows(kept, max(1, BLOCK_BYTES // hidden_bytes)):
        _update(block, rows, part, bias)


def _update(block: SparseBlock, rows: Tensor, part: KeptWindows, bias: Tensor) -> None:
    # The FFN's output for padding is never read.
    targets, x = real_tokens(part, _attend(block, rows, part, bias))  # (P,), (P, C)
    rows.index_copy_(0, targets, _feed_forward(block, x))


def _attend(block: SparseBlock, rows: Tensor, part: KeptWindows, bias: Tensor) -> Tensor:
    """The windows after attention: ``(k', N, C)``."""
    w_msa: Any = block.attn['w_msa']
    windows = gather_windows(rows, part)  # (k', N, C)
    if part.padding is not None and block.pad_before_norm:
        windows = windows.masked_fill_(part.padding, 0.0)
    x = block.norm1(windows)
    if part.padding is not None and not block.pad_before_norm:
        x = x.masked_fill_(part.padding, 0.0)
    x = linear(x, w_msa.qkv.weight, w_msa.qkv.bias)
    x = x.unflatten(-1, (3, w_msa.num_heads, -1))  # (k', N, 3, heads, d)
    x = attend(x, bias, part.mask_kind, part.masks, w_msa.scale)
    return windows.add_(linear(x, w_msa.proj.weight, w_msa.proj.bias))


def _feed_forward(block: SparseBlock, x: Tensor) -> Tensor:
    """The FFN with its normalisation and its shortcut: ``(P, C)`` -> ``(P, C)``."""
    ffn: Any = block.ffn
    (widen, activation, _), narrow = ffn.layers[0], ffn.layers[1]
    gelu = isinstance(activation, nn.GELU) and activation.approximate == 'none'
    hidden = linear(block.norm2(x), widen.weight, widen.bias, gelu)  # (P, hidden_dims)
    if not gelu:
        hidden = activation(hidden)
    return linear(hidden, narrow.weight, narrow.bias).add_(x)


def _merge(
    merging: PatchMerging, x: Tensor, hw_shape: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Merges some rows of patches at a time.

    The tokens of a patch are joined one behind the other, which copies whole tokens; so the
    weights, which are far smaller than a map, are brought to that order.
    """
    stride = merging.stride
    if merging.kernel != stride:  # patches that overlap or lie apart: none of Swin's own models
        return merging(x, hw_shape)
    x = x.unflatten(1, hw_shape)  # (B, H, W, C)
    if hw_shape[0] % stride or hw_shape[1] % stride:
        x = F.pad(x, (0, 0, 0, -hw_shape[1] % stride, 0, -hw_shape[0] % stride))
    down, across = x.shape[1] // stride, x.shape[2] // stride
    strips = x.view(-1, stride, across, stride, x.shape[3])  # (B * H', stride, W', stride, C)

    def by_token(parameter: Tensor) -> Tensor:
        """``(C * stride², ...)`` -> ``(stride² * C, ...)``."""
        return parameter.unflatten(0, (-1, stride**2)).transpose(0, 1).flatten(0, 1)

    # Copied column by column, so that oneDNN need not pack it again for each strip.
    weight = by_token(merging.reduction.weight.t()).t()
    norm: Any = merging.norm
    affine = None if norm is None else (by_token(norm.weight), by_token(norm.bias))

    def merge(strip: Tensor) -> Tensor:
        patches = strip.transpose(1, 2).flatten(0, 1).flatten(1)  # (patches, stride² * C)
        if norm is not None and affine is not None:
            patches = F.layer_norm(patches, patches.shape[-1:], *affine, norm.eps)
        return linear(patches, weight)

    out = join((merge(strip) for strip in parts(strips, MERGING_BYTES)), len(strips) * across)
    return out.view(len(x), down * across, -1), (down, across)
