"""Runs an image through a config's test pipeline, and maps the model's pixels back to it.

For tools that read images. The mapping is found by running an image with known colours through the
same pipeline, so it works for any transforms that resize, crop, pad and flip.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.fileio import get as read_bytes
from torch import Tensor

from sparse_mm.engine.hosts import loads_annotations, loads_images
from sparse_mm.engine.inspection import leaf_datasets, preprocessor_config
from sparse_mm.errors import BadInputError

PICTURES = '.png', '.jpg', '.jpeg', '.pdf', '.svg', '.webp'  # what tools draw into
MARK = 200  # in the last channel, where the picture itself is and no padding
FEW_PIXELS = 8  # along a side, whose way back may be too coarse to be fitted
LONGEST = 4  # how often the shorter side of a drawn panel goes into the longer one
BORDER = 2  # pixels beside padding, whose colours are mixed with it
LARGEST_SIDE = 32767  # of OpenCV's images that are resized
LARGEST_MISS = 0.02  # of the picture's side, on average, where the way back is none


@dataclass(frozen=True)
class SeenPicture:
    """An image and the model's input made of it.

    Attributes:
        original: ``(H, W, 3)`` uint8, RGB.
        inputs: What the model gets, ``(1, C, h, w)``.
        to_original: ``(2, 3)``: what takes ``(x, y, 1)`` on the inputs to the original, in pixels.
        packed: What the test pipeline gave, for a whole model's ``test_step``; None where the
            picture did not go through it.
    """

    original: np.ndarray
    inputs: Tensor
    to_original: np.ndarray
    packed: dict[str, Any] | None = None

    def places(self, points: np.ndarray) -> np.ndarray:
        """Where points are on the original.

        Args:
            points: ``(..., 2)``, x and y as shares of the inputs' width and height.

        Returns:
            ``(..., 2)`` in pixels.
        """
        pixels = points * self.inputs.shape[:-3:-1]
        return pixels @ self.to_original[:, :2].T + self.to_original[:, 2]

    def on_original(self, values: np.ndarray) -> np.ndarray:
        """Brings whole numbers of the inputs' pixels to the original's, each from the nearest.

        Args:
            values: ``(h, w)``, none negative.

        Returns:
            ``(H, W)`` int32; -1 where the inputs do not show the original.
        """
        way = self.to_original.astype(np.float64).copy()
        # From the pixels' middles, half a pixel from their corners, to their numbers.
        way[:, 2] += way[:, :2] @ np.array([0.5, 0.5]) - 0.5
        size = self.original.shape[1], self.original.shape[0]
        moved = cv2.warpAffine(
            values.astype(np.float32),
            way,
            size,
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(-1.0,),
        )
        return np.asarray(np.round(moved), np.int32)


def check_shape(shape: Sequence[int] | None) -> None:
    """Refuses sizes that OpenCV cannot resize to.

    Raises:
        BadInputError: A side is not between 1 and 32767.
    """
    if shape and not 1 <= min(shape) <= max(shape) <= LARGEST_SIDE:
        raise BadInputError(
            f'--shape must be two numbers of at least 1 and at most {LARGEST_SIDE}, not '
            f'{list(shape)}.'
        )


def read_picture(path: str) -> np.ndarray:
    """Reads a picture, ``(H, W, 3)`` RGB, from wherever MMEngine's file backends find it.

    Raises:
        BadInputError: It is none.
    """
    try:
        picture = mmcv.imfrombytes(read_bytes(path), channel_order='rgb')
    except (OSError, ValueError, cv2.error):
        picture = None
    if picture is None:
        raise BadInputError(
            f'{path!r} does not exist or is not an image that OpenCV reads; save others, such as '
            'GIFs, as PNG.'
        )
    return picture


def squeezed(path: str, cfg: Config, shape: tuple[int, int]) -> SeenPicture:
    """Shows the model a picture in a size (H, W), whatever its own, normalised as in the config."""
    original = read_picture(path)
    image = cv2.resize(original, shape[::-1], interpolation=cv2.INTER_LINEAR)
    settings = preprocessor_config(cfg)
    x = torch.from_numpy(image).permute(2, 0, 1).float()
    if not settings.get('bgr_to_rgb', settings.get('to_rgb', False)):
        x = x.flip(0)
    mean = torch.tensor(settings.get('mean') or [0.0] * 3).view(3, 1, 1)
    std = torch.tensor(settings.get('std') or [1.0] * 3).view(3, 1, 1)
    scale = original.shape[1] / shape[1], original.shape[0] / shape[0]
    to_original = np.array([[scale[0], 0.0, 0.0], [0.0, scale[1], 0.0]])
    return SeenPicture(original, ((x - mean) / std).unsqueeze(0), to_original)


def shown_picture(inputs: Tensor, cfg: Config) -> np.ndarray:
    """Undoes the normalisation of what a model sees.

    Args:
        inputs: One image, ``(C, h, w)``.
        cfg: The config, whose data preprocessor says how it was normalised. Without a mean, the
            values are stretched to what can be shown.

    Returns:
        ``(h, w, 3)`` uint8, RGB.
    """
    x = inputs.detach().float().cpu()
    settings = preprocessor_config(cfg)
    if settings.get('mean'):
        mean = torch.tensor(settings['mean'], dtype=torch.float32).view(-1, 1, 1)
        std = torch.tensor(settings.get('std') or [1.0], dtype=torch.float32).view(-1, 1, 1)
        x = x * std + mean
    else:
        x = 255 * (x - x.min()) / (x.max() - x.min()).clamp(min=1e-6)
    x = x[:3] if len(x) >= 3 else x[:1].expand(3, -1, -1)
    if not settings.get('bgr_to_rgb', settings.get('to_rgb', False)):
        x = x.flip(0)
    return x.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def through_test_pipeline(path: str, cfg: Config, preprocessor: Any) -> SeenPicture:
    """Shows the model a picture as the config's test does: loaded, resized, cropped, padded.

    Args:
        path: The picture.
        cfg: The config, with a test pipeline.
        preprocessor: The model's data preprocessor.

    Raises:
        BadInputError: It is no picture, or the pipeline needs more than a picture, or moves its
            pixels in other ways.
    """
    original = read_picture(path)
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    steps = [step for step in dataset.pipeline if not loads_annotations(step['type'])]
    # mmdet3d looks for a single camera's picture under its name.
    camera = dict(img_path=path, cam2img=np.eye(4).tolist(), lidar2cam=np.eye(4).tolist())
    data: dict[str, Any] = dict(img_path=path, img_id=0, sample_idx=0, images=dict(CAM=camera))
    if not any(loads_images(step['type']) for step in steps):
        size = original.shape[:2]  # as data sets give it that hold their pictures in memory
        data.update(img=original.copy(), img_shape=size, ori_shape=size)
    try:
        transforms = Compose(steps).transforms
        packed = _run(transforms, deepcopy(data))
        known = _run(transforms, deepcopy(data), known_colours=True)
        if 'inputs' not in packed:
            raise KeyError('inputs')
    except (AssertionError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadInputError(
            f'The test pipeline cannot be run on a picture alone ({type(error).__name__}: {error}'
            '); squeeze the picture by --shape H W instead.'
        ) from error
    inputs = _images(preprocessor(pseudo_collate([packed]), False)['inputs'])
    colours = _images(known['inputs']).float().numpy()
    to_original = _way_back(colours, (original.shape[0], original.shape[1]))
    if to_original is None:
        raise BadInputError(
            'The test pipeline moves pixels or changes colours in ways that cannot be drawn on the '
            'picture; squeeze the picture by --shape H W instead.'
        )
    return SeenPicture(original, inputs, to_original, packed)


def _run(transforms: Any, data: dict[str, Any], known_colours: bool = False) -> dict[str, Any]:
    """Runs a pipeline; on known colours instead of the picture where those are asked for."""
    for transform in transforms:
        if known_colours and isinstance(data.get('img'), np.ndarray):
            data['img'] = _colours(*data['img'].shape[:2])
            known_colours = False
        data = transform(data)
    return data


def _images(inputs: Any) -> Tensor:
    """The images among a model's inputs, which mmdet3d names."""
    found = inputs if isinstance(inputs, Tensor) else inputs.get('imgs', inputs.get('img'))
    if not isinstance(found, Tensor):
        raise BadInputError('The test pipeline of the config gives no image.')
    return found


def _colours(height: int, width: int) -> np.ndarray:
    """A picture whose first channel grows with x, the second with y: ``(H, W, 3)`` uint8."""
    x = np.linspace(0, 255, width)[None].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return np.round(np.stack([x, y, np.full_like(x, MARK)], -1)).astype(np.uint8)


def _way_back(colours: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """Fits where the pixels of ``(3, h, w)`` lay on a picture of ``(H, W)``; None for no fit."""
    mask = np.abs(colours[2] - MARK) <= 2
    if mask.mean() < 0.01:  # the order of channels was changed on the way
        colours = colours[::-1]
        mask = np.abs(colours[2] - MARK) <= 2
    kernel = np.ones((2 * BORDER + 1, 2 * BORDER + 1), np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), kernel)
    rows, columns = inner.nonzero() if inner.sum() >= 3 else mask.nonzero()
    if not len(rows):
        return None
    # A pixel's middle lies half a pixel from its corner, here and there.
    known = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], -1)  # (P, 3)
    ways = [
        _way_along(known, values[rows, columns], side, axis, mask)
        for axis, (values, side) in enumerate(zip(colours[:2], shape[::-1], strict=True))
    ]
    return None if ways[0] is None or ways[1] is None else np.stack([ways[0], ways[1]])


def _way_along(
    known: np.ndarray, values: np.ndarray, side: int, axis: int, mask: np.ndarray
) -> np.ndarray | None:
    """Fits one coordinate: what takes ``(x, y, 1)`` to it.

    Args:
        known: Places of pixels, ``(P, 3)``.
        values: Their colours, which say where they lay.
        side: Of the picture.
        axis: 0 for x, 1 for y.
        mask: Where the picture is, ``(h, w)``.
    """
    lay = values / 255 * (side - 1) + 0.5
    # Enlarging repeats the colours of the outermost pixels, half a pixel wide.
    between = (values > 0.5) & (values < 254.5)
    if side > 1 and between.sum() >= 3:
        fitted = np.linalg.lstsq(known[between], lay[between], rcond=None)[0]  # (3,)
        miss = np.abs(known[between] @ fitted - lay[between]).mean()
        if np.abs(fitted[:2]).max() > 1e-6 and miss <= LARGEST_MISS * side:
            return np.asarray(fitted)
    if side >= FEW_PIXELS:
        return None
    # Too few pixels to tell: it is stretched over all of the place that it has.
    (places,) = mask.any(axis=axis).nonzero()
    first, last = places[0], places[-1] + 1
    way = np.zeros(3)
    way[axis] = side / (last - first)
    way[2] = -first * way[axis]
    return way


def panel_size(shape: tuple[int, ...], width: float) -> tuple[float, float]:
    """The size of a picture's panel in a figure: its own shape, but for one that is a mere line.

    Args:
        shape: ``(H, W)`` of the picture, in pixels.
        width: Of the panel, in inches.

    Returns:
        Width and height, in inches.
    """
    return width, width * min(max(shape[0] / shape[1], 1 / LONGEST), LONGEST)
