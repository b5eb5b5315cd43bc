"""Pictures of one shape each, to learn recognition on without a download."""

from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from sparse_mm.datasets.shape_scenes import CLASSES, draw_scene, textured_ground
from sparse_mm.errors import BadInputError

CONTRAST = 80  # of a half of a disk to the disk's own colour, of 255
TILT = 0.3  # radians at most


@DATASETS.register_module()
class ShapePictures(BaseDataset):
    """Pictures of one shape of four classes somewhere on a textured ground, drawn into memory.

    Args:
        num_images: Number of pictures.
        size: Side of a picture in pixels. Defaults to 96.
        seed: Seed of the set; give training and validation different ones. Defaults to 0.
        radii: The least and the largest radius of a shape, of ``size``. Defaults to (0.12, 0.3).
        **kwargs: As for ``BaseDataset``. The pipeline starts with ``img``, RGB,
            ``gt_label``, and ``mask``, ``(size, size)`` bool: the pixels of the shape.

    Raises:
        BadInputError: Shapes would be too small to be told apart, or larger than the picture.
    """

    METAINFO: dict[str, Any] = dict(classes=CLASSES)  # noqa: RUF012, as in the hosts' data sets
    SMALLEST = 6.5  # pixels of a radius: a smaller star would count as a sliver
    LARGEST = 0.5  # of the picture

    def __init__(
        self,
        num_images: int,
        size: int = 96,
        seed: int = 0,
        radii: tuple[float, float] = (0.12, 0.3),
        **kwargs: Any,
    ) -> None:
        self.num_images, self.size, self.seed = num_images, size, seed
        self.radii = (radii[0], radii[1])
        if not self.SMALLEST / size <= radii[0] <= radii[1] <= self.LARGEST:
            raise BadInputError(
                f'radii must rise from {self.SMALLEST / size:.3f} ({self.SMALLEST} pixels) to '
                f'{self.LARGEST} at most, not {tuple(radii)}.'
            )
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Draws all pictures."""
        pictures = []
        for number in range(self.num_images):
            image, label, mask = self._draw((self.seed, number))
            pictures.append(
                dict(
                    img=image,
                    img_shape=image.shape[:2],
                    ori_shape=image.shape[:2],
                    gt_label=label,
                    mask=mask,
                )
            )
        return pictures

    def _draw(self, key: tuple[int, ...]) -> tuple[np.ndarray, int, np.ndarray]:
        """A picture, ``(size, size, 3)`` uint8 RGB, its class, and the mask of its shape."""
        image, (shape,) = draw_scene(key, self.size, num_objects=(1, 1), radii=self.radii)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), shape.label, shape.mask


@DATASETS.register_module()
class PointingPictures(ShapePictures):
    """Pictures of one disk each; the class is where its bright half lies, the other being dark.

    Neither the disk's colour nor its place tells the class, and a single sample of the disk does
    not either: it takes samples of both halves, and where they lie. Do not flip these pictures.

    Args:
        num_images: Number of pictures.
        size: Side of a picture in pixels. Defaults to 96.
        seed: Seed of the set; give training and validation different ones. Defaults to 0.
        radii: The least and the largest radius of a disk, of ``size``. Defaults to (0.12, 0.3).
        **kwargs: As for :class:`ShapePictures`.
    """

    METAINFO = dict(classes=('right', 'down', 'left', 'up'))  # noqa: RUF012, as above
    SMALLEST = 4.0  # pixels

    def _draw(self, key: tuple[int, ...]) -> tuple[np.ndarray, int, np.ndarray]:
        rng = np.random.default_rng(key)
        image = textured_ground(self.size, rng)
        label, mask = self._draw_disk(image, rng, (0, self.size), 4)
        return image.clip(0, 255).astype(np.uint8), label, mask

    def _draw_disk(
        self, image: np.ndarray, rng: np.random.Generator, columns: tuple[float, float], ways: int
    ) -> tuple[int, np.ndarray]:
        """Draws a disk between two columns; gives which of some ways it points, and its mask."""
        left, right = columns
        radius = self.size * np.exp(rng.uniform(*np.log(self.radii)))
        centre = rng.uniform((left + radius, radius), (right - radius, self.size - radius))
        y, x = np.mgrid[: self.size, : self.size]
        x, y = x - centre[0], y - centre[1]
        mask = x**2 + y**2 <= radius**2
        way = int(rng.integers(ways))
        angle = way * 2 * np.pi / ways + rng.uniform(-TILT, TILT)
        bright = x * np.cos(angle) + y * np.sin(angle) > 0
        sides = np.where(bright, CONTRAST, -CONTRAST)[mask]
        image[mask] = rng.uniform(60, 195, 3) + sides[:, None]
        return way, mask


@DATASETS.register_module()
class PointingPairs(PointingPictures):
    """Two such disks, side by side, point right or left; the class is whether both point one way.

    One disk alone tells nothing about the class, so that it is learnt slowly from labels. Do not
    flip these pictures if ``fine``.

    Args:
        num_images: Number of pictures.
        radii: The least and the largest radius of a disk, of ``size``. Defaults to (0.12, 0.25).
        fine: Whether the class says which way each disk points: four classes. Defaults to False.
        **kwargs: As for :class:`PointingPictures`.
    """

    METAINFO = dict(classes=('same', 'opposite'))  # noqa: RUF012, as above
    LARGEST = 0.25  # each disk has half of the picture
    WAYS = 'right', 'left'

    def __init__(
        self,
        num_images: int,
        radii: tuple[float, float] = (0.12, 0.25),
        fine: bool = False,
        **kwargs: Any,
    ) -> None:
        self.fine = fine
        if fine:
            names = [f'{one}, {other}' for one in self.WAYS for other in self.WAYS]
            kwargs['metainfo'] = dict(dict(classes=names), **(kwargs.get('metainfo') or {}))
        super().__init__(num_images, radii=radii, **kwargs)

    def _draw(self, key: tuple[int, ...]) -> tuple[np.ndarray, int, np.ndarray]:
        rng = np.random.default_rng(key)
        image = textured_ground(self.size, rng)
        one, mask = self._draw_disk(image, rng, (0, self.size / 2), len(self.WAYS))
        other, mask_of_other = self._draw_disk(
            image, rng, (self.size / 2, self.size), len(self.WAYS)
        )
        label = 2 * one + other if self.fine else int(one != other)
        return image.clip(0, 255).astype(np.uint8), label, mask | mask_of_other
