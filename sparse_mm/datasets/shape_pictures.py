"""Pictures of one shape each, to learn recognition on without a download."""

from typing import Any

import cv2
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from sparse_mm.datasets.shape_scenes import CLASSES, draw_scene
from sparse_mm.errors import BadInputError

SMALLEST = 6.5  # pixels of a radius: a smaller star would count as a sliver


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

    METAINFO = dict(classes=CLASSES)  # noqa: RUF012, as in the hosts' data sets

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
        if not SMALLEST / size <= radii[0] <= radii[1] <= 0.5:
            raise BadInputError(
                f'radii must rise from {SMALLEST / size:.3f} ({SMALLEST} pixels) to 0.5 at most, '
                f'not {tuple(radii)}.'
            )
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Draws all pictures."""
        pictures = []
        for number in range(self.num_images):
            key = self.seed, number
            image, (shape,) = draw_scene(key, self.size, num_objects=(1, 1), radii=self.radii)
            pictures.append(
                dict(
                    img=cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
                    img_shape=image.shape[:2],
                    ori_shape=image.shape[:2],
                    gt_label=shape.label,
                    mask=shape.mask,
                )
            )
        return pictures
