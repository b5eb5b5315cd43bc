"""An image at half of its size for a dense model: another way to reduce the cost as much.

Half of the height and width leaves a quarter of the pixels; at full size, a quarter of the windows
costs about as much (Chen et al., CVPR 2023, section 1).
"""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from torch import Tensor

from sparse_mm.engine.pictures import SeenPicture
from sparse_mm.errors import BadInputError
from tools.benchmarks.counting import count_macs

KEPT_RATIO = 0.75  # what is pruned where a quarter of the windows is kept


def at_half_size(shown: SeenPicture, preprocessor: Any) -> SeenPicture:
    """Halves what a model sees of a picture.

    Args:
        shown: The picture at full size.
        preprocessor: The model's data preprocessor.

    Returns:
        The same picture; predictions on it are in the original's pixels, as before.

    Raises:
        BadInputError: It is one of several cameras, or too small.
    """
    to_original = shown.to_original.copy()
    to_original[:, :2] *= 2
    if shown.packed is None:
        return replace(shown, inputs=_halved(shown.inputs), to_original=to_original)
    packed = deepcopy(shown.packed)
    if not isinstance(packed['inputs'], Tensor):
        raise BadInputError('--half-size takes models of single images.')
    packed['inputs'] = _halved(packed['inputs'][None])[0]
    size = tuple(packed['inputs'].shape[-2:])
    sample = packed['data_samples']
    meta = dict(img_shape=size)
    if 'pad_shape' in sample:
        meta['pad_shape'] = size
    if 'scale_factor' in sample:
        meta['scale_factor'] = tuple((np.asarray(sample.scale_factor) / 2).tolist())
    sample.set_metainfo(meta)
    inputs = preprocessor(pseudo_collate([packed]), False)['inputs']
    return replace(shown, inputs=inputs, to_original=to_original, packed=packed)


def _halved(images: Tensor) -> Tensor:
    """Averages ``(B, C, H, W)`` down to half of its height and width."""
    size = images.shape[-2] // 2, images.shape[-1] // 2
    if min(size) < 1:
        raise BadInputError('--half-size: the picture is too small to be halved.')
    small = F.interpolate(images.float(), size=size, mode='bilinear', antialias=True)
    return small if images.is_floating_point() else small.round().clamp(0, 255).to(images.dtype)


def gmacs(backbone: Any, inputs: Tensor) -> float:
    """The GMACs of a backbone with its ratios, on images of a size."""
    copy = deepcopy(backbone).to('meta')
    return count_macs(copy, torch.empty(inputs.shape, device='meta')) / 1e9
