"""Transforms of clips ``(V, T, H, W, 3)``, the same for all frames."""

from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from mmpretrain.structures import DataSample

from sparse_mm.errors import BadInputError


def _resize(clips: np.ndarray, height: int, width: int) -> np.ndarray:
    if clips.shape[2:4] == (height, width):
        return clips
    shrinks = height * width < clips.shape[2] * clips.shape[3]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    frames = [
        cv2.resize(frame, (width, height), interpolation=how)
        for frame in clips.reshape(-1, *clips.shape[2:])
    ]
    return np.stack(frames).reshape(*clips.shape[:2], height, width, 3)


def _pair(size: Any) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise BadInputError(f'A size must be one number or height and width, not {size!r}.')
    return pair


@TRANSFORMS.register_module()
class ResizeClips:
    """Resizes clips to a short side, or to a height and a width.

    Args:
        short_side: Pixels of the shorter side; the other keeps the shape. Defaults to None.
        size: Height and width, instead. Defaults to None.
    """

    def __init__(
        self, short_side: int | None = None, size: int | tuple[int, int] | None = None
    ) -> None:
        if (short_side is None) == (size is None):
            raise BadInputError('ResizeClips needs one of short_side and size.')
        self.short_side, self.size = short_side, None if size is None else _pair(size)

    def __call__(self, results: dict) -> dict:
        """Resizes ``clips``."""
        height, width = results['clips'].shape[2:4]
        if self.size is not None:
            height, width = self.size
        elif self.short_side is not None:
            factor = self.short_side / min(height, width)
            height, width = max(1, round(height * factor)), max(1, round(width * factor))
        results['clips'] = _resize(results['clips'], height, width)
        return results


@TRANSFORMS.register_module()
class RandomResizedCropClips:
    """Cuts out one random box for all frames, and resizes it.

    Args:
        size: Height and width, or one number for both.
        scale: Least and largest share of the frame's area. Defaults to (0.08, 1).
        ratio: Least and largest width over height. Defaults to (3 / 4, 4 / 3).
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size, self.scale, self.ratio = _pair(size), scale, ratio

    def __call__(self, results: dict) -> dict:
        """Cuts ``clips``."""
        clips = results['clips']
        height, width = clips.shape[2:4]
        high, wide = height, width  # where no box fits, the whole frame
        for _ in range(10):
            area = np.random.uniform(*self.scale) * height * width
            ratio = np.exp(np.random.uniform(*np.log(self.ratio)))
            tried = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
            if 0 < tried[0] <= height and 0 < tried[1] <= width:
                high, wide = tried
                break
        top = np.random.randint(height - high + 1)
        left = np.random.randint(width - wide + 1)
        cut = clips[:, :, top : top + high, left : left + wide]
        results['clips'] = _resize(cut, *self.size)
        return results


@TRANSFORMS.register_module()
class CropClips:
    """Cuts boxes of a fixed size out of clips: from the middle, or several along the longer side.

    Args:
        size: Height and width, or one number for both; clips must be as large.
        num_crops: Boxes of each clip, spread from one end of its longer side to the other; they
            follow each other in the clips' order. Defaults to 1, the middle.
    """

    def __init__(self, size: int | tuple[int, int], num_crops: int = 1) -> None:
        if num_crops < 1:
            raise BadInputError(f'num_crops must be at least 1, not {num_crops}.')
        self.size, self.num_crops = _pair(size), num_crops

    def __call__(self, results: dict) -> dict:
        """Cuts ``clips``.

        Raises:
            BadInputError: They are smaller than the boxes.
        """
        clips = results['clips']
        high, wide = self.size
        room = clips.shape[2] - high, clips.shape[3] - wide
        if min(room) < 0:
            raise BadInputError(
                f'Frames of {clips.shape[2:4]} pixels are smaller than the crop {self.size}; '
                'resize them before, by ResizeClips.'
            )
        places = np.full((self.num_crops, 2), 0.5)
        if self.num_crops > 1:
            places[:, 0 if room[0] > room[1] else 1] = np.linspace(0, 1, self.num_crops)
        corners = (places * room).astype(np.int64)
        cuts = [clips[:, :, y : y + high, x : x + wide] for y, x in corners]
        results['clips'] = np.stack(cuts, axis=1).reshape(-1, clips.shape[1], high, wide, 3)
        return results


@TRANSFORMS.register_module()
class FlipClips:
    """Mirrors whole clips from left to right.

    Args:
        prob: How often. Defaults to 0.5.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def __call__(self, results: dict) -> dict:
        """Mirrors ``clips``."""
        if np.random.random() < self.prob:
            results['clips'] = results['clips'][:, :, :, ::-1]
        return results


@TRANSFORMS.register_module()
class TakeFrame:
    """Keeps one frame of each clip, for models of images.

    Args:
        random: Whether it is any frame; otherwise the middle one. Defaults to False.
    """

    def __init__(self, random: bool = False) -> None:
        self.random = random

    def __call__(self, results: dict) -> dict:
        """Keeps a frame of ``clips``: ``(V, 1, H, W, 3)``."""
        count = results['clips'].shape[1]
        place = np.random.randint(count) if self.random else count // 2
        results['clips'] = results['clips'][:, place : place + 1]
        return results


@TRANSFORMS.register_module()
class PackClips:
    """Packs clips for the model.

    A single view becomes ``inputs`` of ``(3, T, H, W)``, several ``(V, 3, T, H, W)``, uint8.
    ``data_samples`` holds the label, the number of views, the file and whether it was broken.

    Args:
        as_image: Whether to pack a single frame as an image, ``(3, H, W)``. Defaults to False.
    """

    def __init__(self, as_image: bool = False) -> None:
        self.as_image = as_image

    def __call__(self, results: dict) -> dict:
        """Packs ``clips``."""
        clips = results['clips']
        inputs = torch.from_numpy(np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3)))
        sample = DataSample()
        if 'gt_label' in results:
            sample.set_gt_label(results['gt_label'])
        sample.set_metainfo(
            dict(
                num_views=len(clips),
                video_path=results.get('video_path', ''),
                img_shape=clips.shape[2:4],
                broken=results.get('broken', ''),
            )
        )
        if len(clips) == 1:
            inputs = inputs[0]
        if self.as_image:
            inputs = inputs.squeeze(-3)
        return dict(inputs=inputs, data_samples=sample)
