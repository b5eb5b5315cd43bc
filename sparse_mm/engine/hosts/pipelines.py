"""Transforms: which of them fix the size of an image, and which read annotations."""

from collections.abc import Mapping
from typing import Any

from sparse_mm.engine.hosts.types import is_kind, name_of


def size_after(transform: Mapping[str, Any]) -> tuple[int, int] | None:
    """The size (H, W) that a transform gives every image; None if it does not fix one."""
    kind = transform['type']
    if is_kind(kind, 'AugmentSurroundImages'):  # of projects/bevdet
        return _pair(transform['size'])
    if is_kind(kind, 'CropClips'):  # of projects/video_recognition
        return _pair(transform['size'])
    if is_kind(kind, 'ResizeClips') and transform.get('size'):
        return _pair(transform['size'])
    if is_kind(kind, 'CenterCrop'):
        return _pair(transform['crop_size'])
    if is_kind(kind, 'FixShapeResize') and not transform.get('keep_ratio'):
        return int(transform['height']), int(transform['width'])
    if is_kind(kind, 'Resize') and not transform.get('keep_ratio') and transform.get('scale'):
        height, width = _pair(transform['scale'])[::-1]  # it is (W, H)
        return height, width
    return None


def size_of_4_to_3_after(transform: Mapping[str, Any]) -> tuple[int, int] | None:
    """The size (H, W) that a transform which keeps the shape gives an image of 4:3; else None."""
    if is_kind(transform['type'], 'Resize') and transform.get('scale'):
        scale = _pair(transform['scale'])
        factor = min(max(scale) / 4, min(scale) / 3)
        return round(3 * factor), round(4 * factor)
    return size_after(transform)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def loads_images(kind: Any) -> bool:
    """Whether a transform reads an image; without one, the data set gives arrays (CIFAR10)."""
    return name_of(kind).startswith('Load') and not loads_annotations(kind)


def loads_annotations(kind: Any) -> bool:
    """Whether a transform reads annotations, which a picture alone has not."""
    return name_of(kind).startswith(('LoadAnnotations', 'LoadPanopticAnnotations'))
