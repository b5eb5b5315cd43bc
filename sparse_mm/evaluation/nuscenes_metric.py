"""mmdet3d's nuScenes metric at full precision, and for monocular detectors on any device."""

import math
from collections.abc import Mapping, Sequence
from os import path
from typing import Any

import numpy as np
import torch
from mmdet3d.evaluation import NuScenesMetric
from mmdet3d.evaluation.metrics.nuscenes_metric import (
    cam_nusc_box_to_global,
    global_nusc_box_to_cam,
    output_to_nusc_box,
)
from mmdet3d.models.layers import box3d_multiclass_nms
from mmdet3d.structures import CameraInstance3DBoxes, bbox3d2result, xywhr2xyxyr
from mmengine.config import ConfigDict
from mmengine.fileio import dump, load
from mmengine.registry import METRICS
from mmengine.utils import mkdir_or_exist
from nuscenes.eval.detection.constants import TP_METRICS
from nuscenes.eval.detection.data_classes import DetectionMetrics
from nuscenes.utils.data_classes import Box

from sparse_mm.errors import BadInputError

NUM_CAMERAS = 6  # by which mmdet3d's NuScenesDataset numbers the images
# By which mmdet3d joins the cameras of a frame.
FRAME_NMS = ConfigDict(use_rotate_nms=True, nms_thr=0.05, score_thr=0.01, max_per_frame=500)


# Errors that the devkit does not count for a class (its evaluate.py).
NOT_COUNTED = {
    'traffic_cone': ('attr_err', 'vel_err', 'orient_err'),
    'barrier': ('attr_err', 'vel_err'),
}


@METRICS.register_module(force=True)  # takes the place of its stand-in
class FullPrecisionNuScenesMetric(NuScenesMetric):
    """What ``NuScenesMetric`` gives, not rounded, and for a model that finds nothing as well.

    The devkit ends in an exception where no frame has a box, as with a model that has just begun
    to learn or is pruned too much. Here such a model has an mAP and an NDS of 0 and errors of 1, as
    the devkit defines them for classes without detections.
    """

    def _evaluate_single(
        self,
        result_path: str,
        classes: Sequence[str] | None = None,
        result_name: str = 'pred_instances_3d',
    ) -> dict[str, float]:
        """Evaluates a written file.

        Args:
            result_path: ``results_nusc.json``.
            classes: Of the data set.
            result_name: Of the predictions, before the names of the values.

        Returns:
            AP and errors of each class, their means, NDS and mAP.
        """
        if any(load(result_path)['results'].values()):
            super()._evaluate_single(result_path, classes, result_name)
            summary = load(path.join(path.dirname(result_path), 'metrics_summary.json'))
        else:
            summary = self._of_nothing()
        return self._name_values(summary, classes or self.dataset_meta['classes'], result_name)

    def _of_nothing(self) -> Mapping[str, Any]:
        config = self.eval_detection_configs
        metrics = DetectionMetrics(config)
        for name in config.class_names:
            for distance in config.dist_ths:
                metrics.add_label_ap(name, distance, 0.0)
            for error in TP_METRICS:
                counts = error not in NOT_COUNTED.get(name, ())
                metrics.add_label_tp(name, error, 1.0 if counts else math.nan)
        summary: Mapping[str, Any] = metrics.serialize()
        return summary

    def _name_values(
        self, summary: Mapping[str, Any], classes: Sequence[str], result_name: str
    ) -> dict[str, float]:
        values = {}
        for name in classes:
            for distance, value in summary['label_aps'][name].items():
                values[f'{name}_AP_dist_{distance}'] = value
            for error, value in summary['label_tp_errors'][name].items():
                values[f'{name}_{error}'] = value
        for error, value in summary['tp_errors'].items():
            values[self.ErrNameMapping[error]] = value
        values.update(NDS=summary['nd_score'], mAP=summary['mean_ap'])
        return {f'{result_name}_NuScenes/{name}': float(value) for name, value in values.items()}


@METRICS.register_module(force=True)
class MonoNuScenesMetric(FullPrecisionNuScenesMetric):
    """mAP, NDS and their parts where a detector sees each camera by itself.

    ``NuScenesMetric`` joins what was found in the cameras of a frame on a CUDA device, and fails
    without one. This class joins it by the same definition on the CPU; all else is its parent's.
    A frame that was not predicted whole is written with the cameras that were.
    """

    def _format_camera_bbox(
        self,
        results: list[dict],
        sample_idx_list: list[int],
        classes: list[str],
        jsonfile_prefix: str,
    ) -> str:
        """Writes the boxes of all frames as the nuScenes devkit reads them.

        Args:
            results: Of each image ``bboxes_3d``, ``scores_3d``, ``labels_3d`` and ``attr_labels``,
                on the CPU.
            sample_idx_list: Of each image six times its frame's ``sample_idx`` plus the position of
                its camera in the frame.
            classes: Their names.
            jsonfile_prefix: Folder to write into.

        Returns:
            Path of the file, ``results_nusc.json``.

        Raises:
            BadInputError: A frame is not in ``ann_file``.
        """
        infos = {info['sample_idx']: info for info in self.data_infos}
        frames: dict[int, list[tuple[Box, int]]] = {}
        for index, found in zip(sample_idx_list, results, strict=True):
            frame, camera = divmod(index, NUM_CAMERAS)
            if frame not in infos:
                raise BadInputError(
                    f'The evaluator reads {self.ann_file!r}, where the frame {frame} that was '
                    "predicted is missing; let its ann_file be the data set's."
                )
            info = infos[frame]
            boxes, attributes = cam_nusc_box_to_global(
                info,
                *output_to_nusc_box(found),
                classes,
                self.eval_detection_configs,
                list(info['images'])[camera],
            )
            frames.setdefault(frame, []).extend(zip(boxes, attributes, strict=True))
        submission = {
            infos[frame]['token']: self._join_cameras(infos[frame], found, classes)
            for frame, found in frames.items()
        }
        mkdir_or_exist(jsonfile_prefix)
        file = path.join(jsonfile_prefix, 'results_nusc.json')
        dump(dict(meta=self.modality, results=submission), file)
        return file

    def _join_cameras(
        self, info: dict, found: list[tuple[Box, int]], classes: list[str]
    ) -> list[dict[str, Any]]:
        """Of boxes of a class that overlap seen from above, keeps those with the best scores.

        The overlap is measured in the front camera's coordinates, as mmdet3d does.
        """
        attribute_of = {id(box): attribute for box, attribute in found}
        ranges = self.eval_detection_configs
        boxes = global_nusc_box_to_cam(info, [box for box, _ in found], classes, ranges)
        in_camera, scores, labels = _as_tensors(boxes)
        # A column for each class and one for the background.
        class_scores = scores.new_zeros(len(boxes), len(classes) + 1)
        class_scores[torch.arange(len(boxes)), labels] = scores
        kept, scores, labels, attributes = box3d_multiclass_nms(
            in_camera.tensor,
            xywhr2xyxyr(in_camera.bev),
            class_scores,
            FRAME_NMS.score_thr,
            FRAME_NMS.max_per_frame,
            FRAME_NMS,
            mlvl_attr_scores=labels.new_tensor([int(attribute_of[id(box)]) for box in boxes]),
        )
        joined = bbox3d2result(CameraInstance3DBoxes(kept, box_dim=9), scores, labels, attributes)
        boxes, attributes = cam_nusc_box_to_global(
            info, *output_to_nusc_box(joined), classes, ranges, next(iter(info['images']))
        )
        return [
            dict(
                sample_token=info['token'],
                translation=box.center.tolist(),
                size=box.wlh.tolist(),
                rotation=box.orientation.elements.tolist(),
                velocity=box.velocity[:2].tolist(),
                detection_name=classes[box.label],
                detection_score=float(box.score),
                attribute_name=self.get_attr_name(attribute, classes[box.label]),
            )
            for box, attribute in zip(boxes, attributes, strict=True)
        ]


def _as_tensors(
    boxes: list[Box],
) -> tuple[CameraInstance3DBoxes, torch.Tensor, torch.Tensor]:
    """The devkit's boxes in camera coordinates as mmdet3d's, with scores and labels."""
    rows = [
        # (x, y, z), then length, height, width, then the yaw, whose sense is the opposite, then
        # (vx, vz).
        [*box.center, *box.wlh[[1, 2, 0]], -box.orientation.yaw_pitch_roll[0], *box.velocity[::2]]
        for box in boxes
    ]
    values = torch.from_numpy(np.array(rows, dtype=np.float32).reshape(-1, 9))
    scores = torch.tensor([float(box.score) for box in boxes])
    labels = torch.tensor([int(box.label) for box in boxes], dtype=torch.int64)
    return CameraInstance3DBoxes(values, box_dim=9, origin=(0.5, 0.5, 0.5)), scores, labels
