"""Boxes drawn into the images of all cameras and onto a plan of the ground."""

import os.path as osp
from collections.abc import Mapping
from typing import Any

import cv2
import mmcv
import numpy as np
from mmdet3d.engine.hooks import Det3DVisualizationHook
from mmdet3d.structures import Det3DDataSample
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from sparse_mm.errors import BadInputError

TRUTH = (255, 255, 255)
# Corners of mmdet3d's boxes: 0-3 at the back, 4-7 at the front, of LiDAR boxes along x.
EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4)]
EDGES += [(0, 4), (1, 5), (2, 6), (3, 7)]
BOTTOM = [0, 3, 7, 4]
NEAR = 0.1  # metres


def draw_boxes(
    image: np.ndarray, corners: np.ndarray, colours: list[tuple], lidar2img: np.ndarray
) -> None:
    """Draws the edges of boxes into an image, as far as they are in front of the camera.

    Args:
        image: ``(H, W, 3)`` uint8, changed in place.
        corners: ``(K, 8, 3)`` in the LiDAR frame.
        colours: One for each box, in the image's order of channels.
        lidar2img: ``(4, 4)``.
    """
    points = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], axis=-1) @ lidar2img.T
    for box, colour in zip(points[..., :3], colours, strict=True):
        for start, end in ((box[i], box[j]) for i, j in EDGES):
            if max(start[2], end[2]) <= NEAR:
                continue
            if min(start[2], end[2]) < NEAR:  # cut where the edge passes the camera
                share = (NEAR - start[2]) / (end[2] - start[2])
                cut = start + share * (end - start)
                start, end = (cut, end) if start[2] < NEAR else (start, cut)
            # OpenCV's whole numbers end at 2^15; far outside the image a line's slope is enough.
            ends = [np.clip(p[:2] / p[2], -8000, 8000).astype(int).tolist() for p in (start, end)]
            cv2.line(image, *ends, colour, 1, cv2.LINE_AA)


def draw_plan(
    side: int, reach: float, corners: np.ndarray, colours: list[tuple], plan: np.ndarray | None
) -> np.ndarray:
    """Draws boxes as seen from above, the car in the middle, ahead at the top.

    Args:
        side: Side of the picture in pixels.
        reach: Metres from the middle to an edge.
        corners: ``(K, 8, 3)`` in the LiDAR frame.
        colours: One for each box.
        plan: A picture to draw on; None begins one.

    Returns:
        ``(side, side, 3)`` uint8.
    """
    if plan is None:
        plan = np.full((side, side, 3), 40, np.uint8)
        cv2.drawMarker(plan, (side // 2, side // 2), (0, 200, 0), cv2.MARKER_TRIANGLE_UP, 9, 2)
    flat = corners[:, BOTTOM, :2] * [1, -1] / reach
    pixels = np.round((flat + 1) / 2 * side).clip(-8000, 8000)
    for outline, colour in zip(pixels.astype(np.int32, order='C'), colours, strict=True):
        cv2.polylines(plan, [outline], True, colour, 1, cv2.LINE_AA)
        cv2.line(plan, *(outline[2:].tolist()), colour, 2, cv2.LINE_AA)  # the front
    return plan


def draw_frame(
    images: np.ndarray, sample: Det3DDataSample, palette: list[tuple], score_thr: float
) -> np.ndarray:
    """Draws what was found, coloured by class, and beneath it what is there, in white.

    Args:
        images: ``(N, 3, H, W)`` uint8, as the model got them.
        sample: With ``lidar2img``, ``pred_instances_3d`` and, if known, ``eval_ann_info``.
        palette: A colour for each class, in the images' order of channels.
        score_thr: Boxes with lower scores are left out.

    Returns:
        ``(2 * H, cameras across and the plan, 3)`` uint8: cameras that look ahead above those that
        look back, the plan beside them.
    """
    found = sample.pred_instances_3d
    found = found[found.scores_3d >= score_thr]
    layers = [(found.bboxes_3d, [palette[int(label)] for label in found.labels_3d])]
    truth = getattr(sample, 'eval_ann_info', None)
    if truth is not None:
        boxes = truth['gt_bboxes_3d']
        layers.insert(0, (boxes, [TRUTH] * len(boxes)))

    pictures, headings, plan = [], [], None
    height = images.shape[-2]
    for image, lidar2img in zip(images, sample.lidar2img, strict=True):
        picture = np.ascontiguousarray(image.transpose(1, 2, 0))
        for boxes, colours in layers:
            draw_boxes(picture, boxes.corners.cpu().numpy(), colours, lidar2img)
        pictures.append(picture)
        headings.append(np.arctan2(lidar2img[2, 0], lidar2img[2, 1]))  # clockwise from ahead
    for boxes, colours in layers:
        plan = draw_plan(2 * height, 55.0, boxes.corners.cpu().numpy(), colours, plan)

    order = np.argsort(headings)
    ahead = [i for i in order if abs(headings[i]) < np.pi / 2]
    back = sorted(set(order) - set(ahead), key=lambda i: np.sin(headings[i]))
    rows = [np.concatenate([pictures[i] for i in row], axis=1) for row in (ahead, back) if row]
    width = max(row.shape[1] for row in rows)
    rows = [cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], 0) for row in rows]
    grid = np.concatenate(rows)
    if len(rows) == 1:
        grid = cv2.copyMakeBorder(grid, 0, height, 0, 0, 0)
    return np.concatenate([grid, plan], axis=1)


def class_colours(meta: Mapping[str, Any], usual: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """Gives each class of a data set its colour.

    Args:
        meta: Of the data set: ``classes`` and perhaps a ``palette`` of the user's own.
        usual: Of its kind: the palette for the classes that it usually has.

    Returns:
        Colours of the user's palette, or those that the classes usually have; evenly spread hues
        for classes that are new.
    """
    classes, palette = meta['classes'], meta.get('palette')
    if palette and palette != usual.get('palette') and len(palette) >= len(classes):
        return [tuple(colour) for colour in palette[: len(classes)]]
    known = dict(zip(usual.get('classes') or (), usual.get('palette') or (), strict=False))
    hues = np.uint8([[[180 * i // len(classes), 200, 255] for i in range(len(classes))]])
    spread = cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0].tolist()
    return [tuple(known.get(name, spread[i])) for i, name in enumerate(classes)]


@HOOKS.register_module()
class SurroundVisualizationHook(Det3DVisualizationHook):
    """Draws the boxes of each test frame: ``tools/test.py … --show-dir FOLDER``.

    Takes the place of mmdet3d's hook, whose pictures need a point cloud and know no cropped or
    resized images. Arguments are the same.
    """

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: list[Det3DDataSample]
    ) -> None:
        """Draws nothing during training."""

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: list[Det3DDataSample]
    ) -> None:
        """Draws each frame of a test batch."""
        if not self.draw:
            return
        dataset = runner.test_dataloader.dataset
        colours = class_colours(dataset.metainfo, getattr(dataset, 'METAINFO', {}))
        bgr = [colour[::-1] for colour in colours]
        for images, sample in zip(data_batch['inputs']['img'], outputs, strict=True):
            picture = draw_frame(images.cpu().numpy(), sample, bgr, self.score_thr)
            if self.test_out_dir is not None:
                folder = osp.join(runner.work_dir, runner.timestamp, self.test_out_dir)
                mmcv.imwrite(picture, osp.join(folder, f'{sample.sample_idx}.jpg'))
            if self.show:
                self._show(picture)

    def _show(self, picture: np.ndarray) -> None:
        try:
            mmcv.imshow(picture, 'boxes', wait_time=int(1000 * self.wait_time))
        except cv2.error as error:
            raise BadInputError(
                'This OpenCV cannot open windows (opencv-python-headless); write pictures into a '
                'folder instead, by --show-dir FOLDER.'
            ) from error
