"""Loading and augmenting the images of several cameras, and the scene around them.

One matrix per camera is updated by every step: ``lidar2img``, ``(4, 4)``, takes a point of the
(augmented) LiDAR frame to ``(u * d, v * d, d, 1)``, its pixel in the (augmented) image and its
depth in metres. Pixel centres have whole coordinates.
"""

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.datasets.transforms import LoadMultiViewImageFromFiles
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadSurroundImages(LoadMultiViewImageFromFiles):
    """Loads the images of a frame with their projections.

    Adds to mmdet3d's loader ``lidar2img``: one ``(4, 4)`` float64 for each image.
    """

    def transform(self, results: dict) -> dict:
        """Loads one frame."""
        results = super().transform(results)
        results['lidar2img'] = []
        for cam2img, lidar2cam in zip(results['cam2img'], results['lidar2cam'], strict=True):
            intrinsics = np.asarray(cam2img, np.float64)
            projection = np.eye(4)
            projection[: len(intrinsics), : len(intrinsics)] = intrinsics
            results['lidar2img'].append(projection @ np.asarray(lidar2cam, np.float64))
        return results


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


@TRANSFORMS.register_module()
class AugmentSurroundImages(BaseTransform):
    """Resizes, crops, flips and rotates each image by itself, and its projection with it.

    An image is resized by what brings it to the output's width, plus ``zoom``; its top is cropped,
    since the sky has nothing to find (BEVDet, section 3.2). Without any of the random
    settings this is the transform for testing.

    Args:
        size: ``(height, width)`` of the output.
        zoom: Range of what is added to the resize ratio. Defaults to (0, 0).
        shift: Whether to crop at a random place sideways, instead of in the middle. Defaults to
            False.
        flip: Probability of mirroring. Defaults to 0.
        rotate: Range of the rotation, in degrees. Defaults to (0, 0).
        interpolation: Of the resizing, a name of ``mmcv.imresize``. Fixed here rather than left to
            a library's default, which has changed results. Defaults to 'bilinear'.
    """

    def __init__(
        self,
        size: tuple[int, int],
        zoom: tuple[float, float] = (0.0, 0.0),
        shift: bool = False,
        flip: float = 0.0,
        rotate: tuple[float, float] = (0.0, 0.0),
        interpolation: str = 'bilinear',
    ) -> None:
        self.size = size
        self.zoom = zoom
        self.shift = shift
        self.flip = flip
        self.rotate = rotate
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Augments ``img`` and ``lidar2img``."""
        images, projections = [], []
        for image, projection in zip(results['img'], results['lidar2img'], strict=True):
            image, moved = self._augment(image)
            lifted = np.eye(4)
            lifted[:3, :3] = moved
            images.append(image)
            projections.append(lifted @ projection)
        results.update(
            img=images, lidar2img=projections, img_shape=tuple(self.size), pad_shape=self.size
        )
        return results

    def _augment(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gives the image and the matrix ``(3, 3)`` that moved its pixels."""
        height, width = self.size
        old_height, old_width = image.shape[:2]
        ratio = width / old_width + np.random.uniform(*self.zoom)
        new_width, new_height = round(old_width * ratio), round(old_height * ratio)
        image = mmcv.imresize(image, (new_width, new_height), interpolation=self.interpolation)
        scale = np.diag([new_width / old_width, new_height / old_height, 1.0])
        resize = _shift(-0.5, -0.5) @ scale @ _shift(0.5, 0.5)

        place = np.random.uniform() if self.shift else 0.5
        warp = _shift(-round((new_width - width) * place), height - new_height)
        if np.random.uniform() < self.flip:
            warp = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ warp
        angle = np.deg2rad(np.random.uniform(*self.rotate))
        turn = np.array(
            [[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0, 0, 1]]
        )
        centre = (width - 1) / 2, (height - 1) / 2
        warp = _shift(*centre) @ turn @ _shift(-centre[0], -centre[1]) @ warp
        image = cv2.warpAffine(image, warp[:2], (width, height), flags=cv2.INTER_LINEAR)
        return image, warp @ resize


@TRANSFORMS.register_module()
class AugmentBEV(BaseTransform):
    """Rotates, scales and flips the scene around the car: boxes and projections, not the images.

    Args:
        rotate: Range of the rotation about the vertical, in degrees. Defaults to (-22.5, 22.5).
        scale: Range of the scaling. Defaults to (0.95, 1.05).
        flip: Probabilities of mirroring x and y. Defaults to (0.5, 0.5).
    """

    def __init__(
        self,
        rotate: tuple[float, float] = (-22.5, 22.5),
        scale: tuple[float, float] = (0.95, 1.05),
        flip: tuple[float, float] = (0.5, 0.5),
    ) -> None:
        self.rotate = rotate
        self.scale = scale
        self.flip = flip

    def transform(self, results: dict) -> dict:
        """Augments ``gt_bboxes_3d`` and ``lidar2img``."""
        boxes = results['gt_bboxes_3d']
        angle = np.deg2rad(np.random.uniform(*self.rotate))
        ratio = np.random.uniform(*self.scale)
        flip_x, flip_y = np.random.uniform(size=2) < self.flip
        moved = np.eye(4)
        moved[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        moved[:3] *= ratio
        moved = np.diag([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0, 1.0, 1.0]) @ moved

        boxes.rotate(angle)
        boxes.scale(ratio)
        if flip_x:
            boxes.flip('vertical')  # mmdet3d's name for mirroring x
        if flip_y:
            boxes.flip('horizontal')
        back = np.linalg.inv(moved)
        results['lidar2img'] = [projection @ back for projection in results['lidar2img']]
        return results
