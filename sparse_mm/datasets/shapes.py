"""A generated data set in COCO form, so that everything can be tried without a download."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS
from pycocotools import mask as coco_mask

from sparse_mm.datasets.shape_scenes import CLASSES, draw_scene
from sparse_mm.datasets.small_object_scenes import draw_small_objects
from sparse_mm.errors import BadInputError
from sparse_mm.progress import progress_bar
from sparse_mm.ranks import on_every_process, on_main_process

# Raised when draw_scene changes, so that scenes drawn by older code are not taken for today's.
VERSION = 1
SMALL_VERSION = 1  # of draw_small_objects


def write_shapes(
    ann_file: Path,
    image_dir: Path,
    num_images: int,
    size: int,
    seed: int,
    small_objects: tuple[int, int] | None = None,
) -> None:
    """Draws scenes in COCO's format, with a progress bar; leaves what is there already.

    The annotation file is written last and in one step, so its presence says that the scenes are
    complete.

    Args:
        ann_file: The annotations, JSON with run-length masks.
        image_dir: Folder for the images, JPEG.
        num_images: Number of scenes.
        size: Side of a scene in pixels.
        seed: Seed of the set; other seeds give other scenes.
        small_objects: The least and the most objects of scenes with small ones on busy ground; None
            draws the usual scenes.

    Raises:
        BadInputError: ``ann_file`` holds other scenes than these.
    """
    info = dict(generator='sparse_mm shapes', version=VERSION, num_images=num_images)
    info.update(size=size, seed=seed)
    if small_objects is not None:
        info.update(version=SMALL_VERSION, small_objects=list(small_objects))
    if ann_file.is_file():
        found = json.loads(ann_file.read_text()).get('info')
        if found != info:
            raise BadInputError(
                f'{str(ann_file)!r} holds other scenes ({found}) than the config needs '
                f'({info}); delete the file or set another data_root.'
            )
        return
    image_dir.mkdir(parents=True, exist_ok=True)
    ann_file.parent.mkdir(parents=True, exist_ok=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for number in progress_bar(f'Drawing into {image_dir}', range(num_images)):
        if small_objects is None:
            image, instances = draw_scene((VERSION, seed, number), size)
        else:
            key = SMALL_VERSION, seed, number
            image, instances = draw_small_objects(key, size, small_objects)
        name = f'{number:06d}.jpg'
        cv2.imwrite(str(image_dir / name), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        images.append(dict(id=number, file_name=name, height=size, width=size))
        for instance in instances:
            annotations.append(
                dict(
                    _mask_annotation(instance.mask),
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=instance.label + 1,
                    iscrowd=0,
                )
            )
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, start=1)]
    content = dict(info=info, images=images, annotations=annotations, categories=categories)
    unfinished = ann_file.with_name(f'{ann_file.name}.{os.getpid()}')
    unfinished.write_text(json.dumps(content))
    unfinished.replace(ann_file)


def _mask_annotation(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(
        bbox=coco_mask.toBbox(rle).tolist(),
        area=int(coco_mask.area(rle)),
        segmentation=dict(size=list(mask.shape), counts=rle['counts'].decode()),
    )


@DATASETS.register_module(force=True)  # takes the place of its stand-in
class ShapesDataset(CocoDataset):
    """Scenes of a few small shapes on large textured grounds, drawn on first use.

    Args:
        num_images: Number of scenes.
        size: Side of a scene in pixels. Defaults to 448.
        seed: Seed of the set; give training and validation different ones. Defaults to 0.
        small_objects: The least and the most objects of a scene, for scenes that need resolution:
            small objects on busy ground (:mod:`sparse_mm.datasets.small_object_scenes`). Defaults
            to None, the usual scenes.
        **kwargs: As for mmdet's ``CocoDataset``; ``ann_file`` and ``data_prefix['img']`` say where
            the scenes lie.
    """

    METAINFO = dict(  # noqa: RUF012, as in mmdet's data sets
        classes=CLASSES, palette=[(220, 20, 60), (0, 0, 230), (106, 0, 228), (0, 125, 92)]
    )

    def __init__(
        self,
        num_images: int,
        size: int = 448,
        seed: int = 0,
        small_objects: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        self.num_images, self.size, self.seed = num_images, size, seed
        self.small_objects = None if small_objects is None else (small_objects[0], small_objects[1])
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Draws the scenes if they are not there, then reads them as any COCO data set."""
        draw = partial(
            write_shapes,
            Path(self.ann_file),
            Path(self.data_prefix['img']),
            self.num_images,
            self.size,
            self.seed,
            self.small_objects,
        )
        # Rank 0 draws first, where machines share a disk; then one process of each machine that
        # has none of what rank 0 drew.
        on_main_process(draw)
        on_every_process(draw if int(os.environ.get('LOCAL_RANK', 0)) == 0 else lambda: None)
        return super().load_data_list()
