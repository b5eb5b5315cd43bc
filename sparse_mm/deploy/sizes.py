"""A few graphs for images of many sizes: pads images, and crops the outputs.

Pipelines that keep the aspect ratio give images of hundreds of sizes. Padded at the right and at
the bottom with zeros, as the hosts pad the images of a batch, they need a few graphs.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.logging import MMLogger
from torch import Tensor

from sparse_mm.errors import BadInputError

Size = tuple[int, int]
# A side to be a multiple of, or the sizes themselves.
Grid = int | tuple[Size, ...]
# A warning is given at so many image sizes, each with its graph.
MANY = 4


class SizeCount:
    """Counts the sizes of graphs, and warns once if there are many."""

    def __init__(self) -> None:
        self.sizes: set[Size] = set()

    def note(self, size: Size) -> None:
        """Takes the size of a new graph."""
        known = len(self.sizes)
        self.sizes.add(size)
        if known < len(self.sizes) == MANY:
            MMLogger.get_current_instance().warning(
                f'Images come in {MANY} sizes so far, and each needs a graph of its own, which '
                'takes seconds to make; pad them to a few by sizes=128 of DeployedBackbone '
                '(test.py: --sizes 128).'
            )


def read_grid(sizes: int | Sequence[Sequence[int]] | None) -> Grid | None:
    """Reads ``sizes=``.

    Args:
        sizes: None, a number, or ``(H, W)`` of each size.

    Raises:
        BadInputError: It is something else.
    """
    if sizes is None:
        return None
    if isinstance(sizes, int) and not isinstance(sizes, bool) and sizes > 0:
        return sizes
    try:
        read = tuple((int(height), int(width)) for height, width in sizes)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        read = ()
    if not read or min(min(size) for size in read) < 1:
        raise BadInputError(
            'sizes must be None, a number that sides are padded to a multiple of, or a list of '
            f'(H, W), not {sizes!r}.'
        )
    return read


def graph_size(size: Size, grid: Grid | None) -> Size:
    """The size of the graph that computes images of a size (H, W).

    Raises:
        BadInputError: The images are larger than all graphs.
    """
    if grid is None:
        return size
    if isinstance(grid, int):
        return -(-size[0] // grid) * grid, -(-size[1] // grid) * grid
    fitting = [own for own in grid if own[0] >= size[0] and own[1] >= size[1]]
    if not fitting:
        raise BadInputError(
            f'Images of {size[0]}x{size[1]} are larger than every one of the sizes '
            f'{", ".join(f"{h}x{w}" for h, w in grid)}; add a larger one to sizes=.'
        )
    return min(fitting, key=lambda own: own[0] * own[1])


def pad(images: Tensor, size: Size) -> Tensor:
    """Pads images at the bottom and right with zeros: ``(B, C, h, w)`` -> ``(B, C, H, W)``."""
    below, beside = size[0] - images.shape[-2], size[1] - images.shape[-1]
    return F.pad(images, (0, beside, 0, below)) if below or beside else images


def check_maps(outputs: Sequence[Tensor]) -> None:
    """Checks that a backbone returns maps, from which padding can be cut off.

    Raises:
        BadInputError: It does not: latent tokens sample the whole image, padding included.
    """
    if any(out.dim() != 4 for out in outputs):
        raise BadInputError(
            'sizes= pads images, which only backbones that return maps can bear; leave it out, and '
            'each size gets a graph of its own.'
        )


def _stride(whole: int, side: int) -> int:
    """The stride that makes a map's side from an image's, rounding up.

    Of several the power of two, which strides of backbones are.
    """
    least = -(-whole // side)
    power = 1 << (least - 1).bit_length()
    return power if -(-whole // power) == side else least


def crop(maps: Sequence[Tensor], padded: Size, size: Size) -> list[Tensor]:
    """Crops the padding.

    Args:
        maps: ``(B, C_i, H_i, W_i)`` of images of the padded size.
        padded: ``(H, W)`` of the padded images.
        size: ``(h, w)`` of the images before.
    """
    if padded == size:
        return list(maps)
    cropped = []
    for out in maps:
        strides = map(_stride, padded, out.shape[-2:])
        height, width = (-(-side // stride) for side, stride in zip(size, strides, strict=True))
        cropped.append(out[..., :height, :width].contiguous())
    return cropped
