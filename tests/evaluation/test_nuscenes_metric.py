"""The cameras of a frame are merged on the CPU as mmdet3d merges them on CUDA."""

import json
import math

import numpy as np
import pytest
import torch
from mmengine.fileio import dump
from mmengine.registry import METRICS

from sparse_mm.errors import BadInputError
from sparse_mm.evaluation.nuscenes_metric import MonoNuScenesMetric

pytest.importorskip('mmdet3d', reason='needs mmdet3d')
from mmdet3d.evaluation import NuScenesMetric
from mmdet3d.structures import CameraInstance3DBoxes
from nuscenes.utils.data_classes import Box
from pyquaternion import Quaternion
from shapely.geometry import Polygon

CLASSES = (
    *('car', 'truck', 'trailer', 'bus', 'construction_vehicle', 'bicycle', 'motorcycle'),
    *('pedestrian', 'traffic_cone', 'barrier'),
)
CAMERAS = ('FRONT', 'FRONT_RIGHT', 'FRONT_LEFT', 'BACK', 'BACK_LEFT', 'BACK_RIGHT')
YAWS = (0, -55, 55, 180, 110, -110)  # degrees
HEIGHT = 1.5  # of the cameras above the ground
EGO_YAW, EGO = 0.4, np.array([600.0, 1200.0, 0.0])


def yaw_matrix(yaw):
    matrix = np.eye(4)
    matrix[:3, :3] = Quaternion(axis=(0, 0, 1), radians=yaw).rotation_matrix
    return matrix


def frame(sample_idx):
    """A frame with six level cameras around the car."""
    looks = np.eye(4)  # along x: right is -y, down is -z
    looks[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    images = {}
    for name, yaw in zip(CAMERAS, YAWS, strict=True):
        pose = yaw_matrix(math.radians(yaw)) @ looks
        pose[:3, 3] = 1.0, 0.5, HEIGHT
        images[f'CAM_{name}'] = dict(cam2ego=pose.tolist())
    ego2global = yaw_matrix(EGO_YAW)
    ego2global[:3, 3] = EGO
    info = dict(sample_idx=sample_idx, token=f'frame {sample_idx}', images=images)
    return dict(info, ego2global=ego2global.tolist())


def detections(rng, info, camera, count=40):
    """Boxes on the ground within 30 m, (x, y, yaw, length, width, height) in the car's system, and
    as a monocular detector gives them."""
    boxes = np.stack(
        [
            *rng.uniform(-30, 30, (2, count)),
            rng.uniform(-math.pi, math.pi, count),
            *rng.uniform(1, 6, (3, count)),
        ],
        axis=1,
    )
    pose = np.array(info['images'][camera]['cam2ego'])
    rows = []
    for x, y, yaw, length, width, height in boxes:
        centre = pose[:3, :3].T @ (np.array([x, y, 0]) - pose[:3, 3])  # its bottom's
        heading = pose[:3, :3].T @ np.array([math.cos(yaw), math.sin(yaw), 0])
        turn = math.atan2(-heading[2], heading[0])
        rows.append([*centre, length, height, width, turn, *rng.normal(size=2)])
    result = dict(
        bboxes_3d=CameraInstance3DBoxes(torch.tensor(rows, dtype=torch.float32), box_dim=9),
        scores_3d=torch.tensor(rng.uniform(0.005, 1, count), dtype=torch.float32),
        labels_3d=torch.tensor(rng.integers(0, 3, count)),
        attr_labels=torch.tensor(rng.integers(0, 9, count)),
    )
    return boxes, result


def metric_of(cls, tmp_path, infos):
    path = tmp_path / 'infos.pkl'
    dump(dict(metainfo={}, data_list=infos), path)
    metric = cls(
        data_root=str(tmp_path),
        ann_file=str(path),
        format_only=True,
        jsonfile_prefix=str(tmp_path / cls.__name__),
    )
    metric.dataset_meta = dict(classes=CLASSES, version='v1.0-mini')
    return metric


def written(metric, indices, results):
    for index, result in zip(indices, results, strict=True):
        sample = dict(pred_instances_3d=dict(result), pred_instances={}, sample_idx=index)
        metric.process({}, [sample])
    assert metric.compute_metrics(metric.results) == {}
    path = f'{metric.jsonfile_prefix}/pred_instances_3d/results_nusc.json'
    with open(path) as file:
        return json.load(file)


def in_order(found):
    return sorted(found, key=lambda box: (-box['detection_score'], box['detection_name']))


@pytest.fixture
def two_frames():
    rng = np.random.default_rng(0)
    infos = [frame(0), frame(1)]
    truths, results = [], []
    for info in infos:
        for camera in info['images']:
            truth, result = detections(rng, info, camera)
            truths.append(truth)
            results.append(result)
    return infos, truths, results


def test_it_writes_what_the_host_writes(two_frames, tmp_path, monkeypatch):
    infos, _, results = two_frames
    ours = written(metric_of(MonoNuScenesMetric, tmp_path, infos), range(12), results)
    # The host's own code, its "cuda()" left out: the operations below it run on both.
    monkeypatch.setattr(torch.Tensor, 'cuda', lambda self: self)
    host = written(metric_of(NuScenesMetric, tmp_path, infos), range(12), results)
    assert list(ours['results']) == list(host['results']) == ['frame 0', 'frame 1']
    assert ours['meta'] == host['meta']
    for token, expected in host['results'].items():
        found = ours['results'][token]
        assert len(found) == len(expected) > 50
        for one, other in zip(in_order(found), in_order(expected), strict=True):
            assert one.keys() == other.keys()
            for key, value in other.items():
                assert one[key] == (value if isinstance(value, str) else pytest.approx(value))


def test_a_plain_loop_keeps_the_same(two_frames, tmp_path):
    """Greedy suppression per class: a box is kept if it overlaps no kept box of a higher score."""
    infos, truths, results = two_frames
    metric = metric_of(MonoNuScenesMetric, tmp_path, infos)
    found = written(metric, range(6), results[:6])['results']['frame 0']
    ranges = metric.eval_detection_configs.class_range
    expected = []
    for label in range(3):
        candidates = []
        for truth, result in zip(truths[:6], results[:6], strict=True):
            for row, score, own in zip(
                truth, result['scores_3d'], result['labels_3d'], strict=True
            ):
                in_range = math.hypot(row[0], row[1]) <= ranges[CLASSES[label]]
                if own == label and score > 0.01 and in_range:
                    x, y, yaw, length, width, height = row
                    size = width, length, height
                    rotation = Quaternion(axis=(0, 0, 1), radians=yaw)
                    box = Box((x, y, height / 2), size, rotation, score=float(score))
                    candidates.append((box, Polygon(box.bottom_corners()[:2].T)))
        kept = []
        for box, outline in sorted(candidates, key=lambda pair: -pair[0].score):
            overlaps = (
                outline.intersection(other).area / outline.union(other).area for _, other in kept
            )
            if all(overlap <= 0.05 for overlap in overlaps):
                kept.append((box, outline))
        assert 5 < len(kept) < len(candidates)
        expected += [(box, CLASSES[label]) for box, _ in kept]

    expected.sort(key=lambda pair: -pair[0].score)
    for one, (box, name) in zip(in_order(found), expected, strict=True):
        box.rotate(Quaternion(axis=(0, 0, 1), radians=EGO_YAW))
        box.translate(EGO)
        assert one['detection_name'] == name
        assert one['detection_score'] == pytest.approx(box.score)
        assert one['translation'] == pytest.approx(box.center, abs=1e-3)
        assert one['size'] == pytest.approx(box.wlh, abs=1e-4)
        turned = Quaternion(one['rotation']).rotation_matrix
        assert turned == pytest.approx(box.rotation_matrix, abs=1e-4)


def test_frames_without_boxes_and_with_one_camera(two_frames, tmp_path):
    infos, _, results = two_frames
    nothing = {key: value[:0] for key, value in results[0].items()}
    metric = metric_of(MonoNuScenesMetric, tmp_path, infos)
    found = written(metric, [*range(6), 8], [nothing] * 6 + results[8:9])['results']
    assert found['frame 0'] == []
    assert {box['sample_token'] for box in found['frame 1']} == {'frame 1'}


def test_predictions_of_another_file(two_frames, tmp_path):
    infos, _, results = two_frames
    metric = metric_of(MonoNuScenesMetric, tmp_path, infos)
    with pytest.raises(BadInputError, match='the frame 2 that was predicted is missing'):
        written(metric, [12], results[:1])


def test_it_resolves_from_the_hosts_scope():
    with METRICS.switch_scope_and_registry('mmdet3d') as registry:
        assert registry.get('MonoNuScenesMetric') is MonoNuScenesMetric
