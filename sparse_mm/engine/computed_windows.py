"""Records the windows that each layer of a SparseViT computes.

For tools and hooks that count or draw what pruning leaves out (SparseViT, Chen et al., CVPR 2023,
figure 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from sparse_mm.engine.inspection import find_backbone
from sparse_mm.errors import BadInputError
from sparse_mm.models.layers.windows import KeptWindows


@dataclass(frozen=True)
class BlockPass:
    """What one block computed in one pass.

    Attributes:
        stage: Number of its stage, from 0.
        hw_shape: ``(H, W)`` of the stage's map, in tokens.
        window_size: Side of a window, in tokens.
        stride: ``(y, x)``: pixels of the image from one token to the next.
        kept: The windows that it computed.
    """

    stage: int
    hw_shape: tuple[int, int]
    window_size: int
    stride: tuple[int, int]
    kept: KeptWindows

    def tokens(self) -> np.ndarray:
        """Which tokens of each image were computed: ``(B, H, W)`` bool."""
        (height, width), images = self.hw_shape, self.kept.shape[0]
        # Padding tokens point at one row behind the last image's.
        computed = torch.zeros(images * height * width + 1, dtype=torch.bool)
        computed[self.kept.rows.cpu()] = True
        return computed[:-1].view(images, height, width).numpy()


@dataclass(frozen=True)
class BackbonePass:
    """What the backbone computed in one pass.

    Attributes:
        images: What it got, ``(B, C, h, w)``.
        blocks: Its blocks in their order.
    """

    images: Tensor
    blocks: list[BlockPass] = field(default_factory=list)

    def layer_counts(self) -> np.ndarray:
        """How many layers computed each pixel of the images: ``(B, h, w)`` int32."""
        images, _, height, width = self.images.shape
        counts = np.zeros((images, height, width), np.int32)
        for block in self.blocks:
            # Tokens lie from the top left on; what a map is padded by lies at the bottom right.
            large = block.tokens().repeat(block.stride[0], 1).repeat(block.stride[1], 2)
            large = large[:, :height, :width]
            counts[:, : large.shape[1], : large.shape[2]] += large
        return counts


class WindowRecorder:
    """Notes what a model's SparseViT computes, from its making until :meth:`remove`.

    Args:
        model: A model with one SparseViT, in its wrapper or without.

    Attributes:
        passes: The passes of the backbone so far.
        layers: Blocks of the backbone.

    Raises:
        BadInputError: The model has no SparseViT, or several.
    """

    def __init__(self, model: nn.Module) -> None:
        backbone = find_backbone(model)
        self.passes: list[BackbonePass] = []
        self.layers = sum(backbone.depths)
        self._handles: list[Any] = [backbone.register_forward_pre_hook(self._begin)]
        self._hw_shape = (0, 0)
        projection: Any = backbone.patch_embed.projection
        stride = int(projection.stride[0]), int(projection.stride[1])
        for i, stage in enumerate(backbone.stages):
            merging = 1 if stage.downsample is None else stage.downsample.stride
            before, after = (merging, 1) if stage.merges_first else (1, merging)
            stride = stride[0] * before, stride[1] * before
            self._handles.append(stage.register_forward_pre_hook(self._note_size))
            for block in stage.blocks:
                note = self._note(i, stage.window_size, stride)
                self._handles.append(block.register_forward_pre_hook(note))
            stride = stride[0] * after, stride[1] * after

    def _begin(self, module: nn.Module, args: tuple) -> None:
        self.passes.append(BackbonePass(args[0]))

    def _note_size(self, module: nn.Module, args: tuple) -> None:
        self._hw_shape = args[1]

    def _note(self, stage: int, window_size: int, stride: tuple[int, int]) -> Any:
        def hook(module: nn.Module, args: tuple) -> None:
            block = BlockPass(stage, self._hw_shape, window_size, stride, args[1])
            self.passes[-1].blocks.append(block)

        return hook

    def remove(self) -> None:
        """Ends the recording; what was noted stays."""
        for handle in self._handles:
            handle.remove()


def join_crops(
    passes: Sequence[BackbonePass],
    shape: tuple[int, int],
    crop: tuple[int, int] | None = None,
    stride: tuple[int, int] | None = None,
) -> np.ndarray:
    """How many layers computed each pixel of images that the backbone saw whole or in crops.

    Args:
        passes: Those of a recorder: one, or one for each crop.
        shape: ``(h, w)`` of the images.
        crop: ``(h, w)`` of the window that a test slides over them (mmseg); None for none.
        stride: Its steps, ``(y, x)``.

    Returns:
        ``(B, h, w)`` int32. Where crops overlap, what the crop with the most layers has.

    Raises:
        BadInputError: The passes are others.
    """
    corners = [(0, 0)] if crop is None or stride is None else _corners(shape, crop, stride)
    size = shape if crop is None else (min(shape[0], crop[0]), min(shape[1], crop[1]))
    seen = [tuple(one.images.shape[-2:]) for one in passes]
    if seen != [tuple(size)] * len(corners):
        raise BadInputError(
            f'The model showed its backbone {len(seen)} images of {sorted(set(seen))} and not '
            f'{len(corners)} of {tuple(size)}, so their place on the picture is not known; '
            'resize it by --shape H W instead.'
        )
    joined = np.zeros((passes[0].images.shape[0], *shape), np.int32)
    for (top, left), one in zip(corners, passes, strict=True):
        place = joined[:, top : top + size[0], left : left + size[1]]
        np.maximum(place, one.layer_counts(), out=place)
    return joined


def _corners(
    shape: tuple[int, int], crop: tuple[int, int], stride: tuple[int, int]
) -> list[tuple[int, int]]:
    """Top left corners of the crops, in the order of mmseg's ``slide_inference``."""
    rows, columns = window_starts(shape, crop, stride)
    return [(top, left) for top in rows for left in columns]


def window_starts(
    shape: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]
) -> tuple[list[int], list[int]]:
    """Where the windows of a sliding test (mmseg) begin: their rows, and their columns.

    Args:
        shape: ``(h, w)`` of the images.
        window: ``(h, w)``; the last of a row or column is moved back into the image.
        stride: Its steps, ``(y, x)``.
    """
    starts = []
    for side, length, step in zip(shape, window, stride, strict=True):
        number = max(side - length + step - 1, 0) // step + 1
        starts.append([max(min(i * step, side - length), 0) for i in range(number)])
    return starts[0], starts[1]


def paint_layers(image: np.ndarray, counts: np.ndarray, layers: int) -> np.ndarray:
    """Colours an image by the number of layers that computed each pixel (colour map viridis).

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        counts: ``(H, W)``; -1 for what the model does not see, which becomes dark.
        layers: How many there are.

    Returns:
        ``(H, W, 3)`` uint8, RGB.
    """
    shares = np.round(255 * counts.clip(0) / layers).astype(np.uint8)
    colours = cv2.applyColorMap(shares, cv2.COLORMAP_VIRIDIS)[..., ::-1]
    mixed = (image.astype(np.uint16) + colours) // 2
    return np.where(counts[..., None] < 0, image // 4, mixed).astype(np.uint8)
