"""Driving scenes in nuScenes form, as the devkit and mmdet3d read and evaluate them."""

import json
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config

from projects.bevdet.driving.nuscenes_tables import token
from tests.conftest import ROOT
from tests.projects.bevdet.driving.drawn import dataset, infos

pytest.importorskip('mmdet3d', reason='needs mmdet3d')
from mmdet3d.evaluation import NuScenesMetric
from mmdet3d.structures import CameraInstance3DBoxes
from nuscenes.utils.geometry_utils import BoxVisibility, points_in_box

from sparse_mm.engine.hosts import names_given
from sparse_mm.evaluation.nuscenes_metric import FullPrecisionNuScenesMetric


def test_scene_names_are_the_devkits(nusc, root):
    from nuscenes.utils import splits

    names = [scene['name'] for scene in nusc.scene]
    assert [n for n in names if n in splits.train] == splits.train[:1]
    assert [n for n in names if n in splits.val] == splits.val[:6]
    assert len(infos(root, 'train')) == 3
    assert len(infos(root, 'val')) == 18


def test_info_files_have_mmdet3ds_keys(root, shared):
    path = shared('data/nuscenes/nuscenes_infos_demo.pkl')
    real = pickle.loads(path.read_bytes())
    drawn = pickle.loads((root / 'nuscenes_infos_val.pkl').read_bytes())
    assert real['metainfo'].keys() == drawn['metainfo'].keys()
    assert real['metainfo']['categories'] == drawn['metainfo']['categories']
    real, drawn = real['data_list'][0], drawn['data_list'][0]
    assert real.keys() == drawn.keys()
    assert list(real['images']) == list(drawn['images'])
    assert list(real['cam_instances']) == list(drawn['cam_instances'])
    for part in ('instances', 'lidar_points'):
        first = [x[part] if part == 'lidar_points' else x[part][0] for x in (real, drawn)]
        assert first[0].keys() == first[1].keys()
    assert real['images']['CAM_BACK'].keys() == drawn['images']['CAM_BACK'].keys()
    boxes = [next(b[0] for b in x['cam_instances'].values() if b) for x in (real, drawn)]
    assert boxes[0].keys() == boxes[1].keys()
    # The lidar frame is turned as in the real data: y points ahead.
    for info in (real, drawn):
        assert np.array(info['lidar_points']['lidar2ego'])[0, 1] == pytest.approx(1, abs=1e-3)


def test_the_devkit_sees_the_same_boxes(nusc, root):
    for info in infos(root, 'train') + infos(root, 'val')[:3]:
        sample = nusc.get('sample', info['token'])
        assert sample['timestamp'] / 1e6 == info['timestamp']
        _, boxes, _ = nusc.get_sample_data(sample['data']['LIDAR_TOP'])
        assert len(boxes) == len(info['instances'])
        for box, instance in zip(boxes, info['instances'], strict=True):
            width, length, height = box.wlh
            mine = np.array(instance['bbox_3d'])
            assert np.allclose(box.center, mine[:3], atol=1e-3)
            assert np.allclose([length, width, height], mine[3:6], atol=1e-3)
            turn = box.orientation.yaw_pitch_roll[0] - mine[6]
            assert abs(np.angle(np.exp(1j * turn))) < 1e-3
            annotation = nusc.get('sample_annotation', box.token)
            assert annotation['num_lidar_pts'] == instance['num_lidar_pts']
            velocity = nusc.box_velocity(box.token)
            lidar2global = np.array(info['ego2global']) @ info['lidar_points']['lidar2ego']
            assert np.allclose(velocity[:2], (lidar2global[:3, :2] @ instance['velocity'])[:2])
        for channel, camera in info['images'].items():
            _, boxes, cam2img = nusc.get_sample_data(
                sample['data'][channel], box_vis_level=BoxVisibility.NONE
            )
            assert np.allclose(cam2img, camera['cam2img'])
            given = {tuple(np.round(b.center, 2)): b for b in boxes}
            lidar2cam = np.array(camera['lidar2cam'])
            for box, instance in zip(boxes, info['instances'], strict=True):
                centre = lidar2cam[:3, :3] @ instance['bbox_3d'][:3] + lidar2cam[:3, 3]
                assert np.allclose(box.center, centre, atol=1e-3)
            for instance in info['cam_instances'][channel]:
                mine = CameraInstance3DBoxes([instance['bbox_3d']], origin=(0.5, 0.5, 0.5))
                box = given[tuple(np.round(instance['bbox_3d'][:3], 2))]
                # mmdet3d's boxes are upright; cameras are tilted by a degree.
                theirs = np.sort(box.corners().T, axis=0)
                assert np.allclose(np.sort(mine.corners[0].numpy(), axis=0), theirs, atol=0.35)
                assert instance['depth'] == pytest.approx(box.center[2], abs=1e-3)


def test_points_lie_in_the_boxes_that_count_them(nusc, root):
    counts = []
    for info in infos(root, 'val')[:4]:
        sample = nusc.get('sample', info['token'])
        path, boxes, _ = nusc.get_sample_data(sample['data']['LIDAR_TOP'])
        points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :3]
        for box in boxes:
            inside = int(points_in_box(box, points.T).sum())
            assert inside == nusc.get('sample_annotation', box.token)['num_lidar_pts']
            counts.append(inside)
        ground = points[:, 2] + 1.84
        assert (np.abs(ground) < 1e-3).sum() > 100
    assert 0 in counts and max(counts) > 10


def perfect_predictions(found):
    for index in range(len(found)):
        info = found.get_data_info(index)
        truth = info['eval_ann_info']
        yield dict(
            sample_idx=info['sample_idx'],
            pred_instances={},
            pred_instances_3d=dict(
                bboxes_3d=truth['gt_bboxes_3d'],
                labels_3d=torch.tensor(truth['gt_labels_3d']),
                scores_3d=torch.ones(len(truth['gt_labels_3d'])),
            ),
        )


def test_the_official_evaluation_finds_the_truth_right(root, tmp_path):
    found = dataset(root, 'val', test_mode=True)
    metric = NuScenesMetric(data_root=str(root), ann_file=f'{root}/nuscenes_infos_val.pkl')
    metric.dataset_meta = found.metainfo
    metric.process({}, list(perfect_predictions(found)))
    scores = metric.evaluate(len(found))
    prefix = 'NuScenes metric/pred_instances_3d_NuScenes'
    assert scores[f'{prefix}/mAP'] > 0.95
    assert scores[f'{prefix}/NDS'] > 0.9
    for error in ('mATE', 'mASE', 'mAOE', 'mAVE'):
        assert scores[f'{prefix}/{error}'] < 0.01


def evaluate(metric_class, root, found, predictions):
    metric = metric_class(data_root=str(root), ann_file=f'{root}/nuscenes_infos_val.pkl')
    metric.dataset_meta = found.metainfo
    metric.process({}, predictions)
    return metric.evaluate(len(found))


def test_the_searchs_metric_is_the_official_one_for_whatever_a_model_finds(root, tmp_path):
    found = dataset(root, 'val', test_mode=True)
    right, wrong, nothing = (list(perfect_predictions(found)) for _ in range(3))
    for sample in wrong:  # no object where the car itself is
        sample['pred_instances_3d']['bboxes_3d'].tensor[:, :2] = 0
    for sample in nothing:
        boxes = sample['pred_instances_3d']
        sample['pred_instances_3d'] = {name: values[:0] for name, values in boxes.items()}
    # Without any box the devkit would fail; boxes that match none score the same.
    for theirs, ours in ((right, right), (wrong, nothing)):
        expected = evaluate(NuScenesMetric, root, found, theirs)
        values = evaluate(FullPrecisionNuScenesMetric, root, found, ours)
        assert values.keys() == expected.keys()
        for name, value in expected.items():
            assert values[name] == pytest.approx(value, abs=5.1e-5, nan_ok=True), name
    assert values['NuScenes metric/pred_instances_3d_NuScenes/NDS'] == 0
    metric = FullPrecisionNuScenesMetric(str(root), ann_file='')
    assert set(values) == set(names_given(metric, found.metainfo))


def test_tables_are_whole(root, nusc):
    folder = root / 'v1.0-trainval'
    assert len(list(folder.glob('*.json'))) == 13
    for annotation in nusc.sample_annotation:
        assert annotation['visibility_token'] in ('1', '2', '3', '4')
        assert np.isfinite(nusc.box_velocity(annotation['token'])).all()
    for table in ('sample', 'sample_data', 'sample_annotation'):
        records = {r['token']: r for r in json.loads((folder / f'{table}.json').read_text())}
        for own, record in records.items():
            if record['next']:
                assert records[record['next']]['prev'] == own
    assert len(token('any')) == 32
    for record in nusc.sample_data:
        assert (root / record['filename']).is_file()
    assert nusc.map[0]['mask'].mask().shape


def test_dataset_reads_cameras_boxes_and_points(root, mmdet3d_scope):
    pipeline = [
        dict(type='LoadMultiViewImageFromFiles', num_views=6),
        dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=5, use_dim=4),
        dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
        dict(type='Pack3DDetInputs', keys=['img', 'points', 'gt_bboxes_3d', 'gt_labels_3d']),
    ]
    sensors = dict(use_camera=True, use_lidar=True)
    found = dataset(root, 'train', pipeline=pipeline, modality=sensors, use_valid_flag=True)
    sample = found[0]
    assert sample['inputs']['img'].shape == (6, 3, 90, 160)
    boxes = sample['data_samples'].gt_instances_3d.bboxes_3d
    assert boxes.tensor.shape[1] == 9
    # They stand on the ground, 1.84 m below the lidar.
    assert torch.allclose(boxes.bottom_center[:, 2], torch.tensor(-1.84), atol=1e-4)
    valid = [i['bbox_3d_isvalid'] for i in infos(root, 'train')[0]['instances']]
    assert len(boxes) == sum(valid) > 5


def test_dataset_reads_single_images_for_fcos3d(root, mmdet3d_scope):
    base = Config.fromfile(ROOT / 'configs' / '_base_' / 'nuscenes_mono3d.py')
    found = dataset(
        *(root, 'train'),
        pipeline=base.train_pipeline,
        load_type='mv_image_based',
        box_type_3d='Camera',
        use_valid_flag=True,
    )
    assert len(found) == 6 * 3
    counts, centres = [], []
    for index in range(6):
        sample = found[index]['data_samples']
        counts.append(len(sample.gt_instances_3d.bboxes_3d))
        centres += sample.gt_instances_3d.centers_2d.tolist()
        assert len(sample.gt_instances.bboxes) == counts[-1]
    assert min(counts) >= 1
    assert np.isfinite(centres).all()


def test_other_classes_can_be_chosen(root):
    found = dataset(root, 'train', metainfo=dict(classes=['pedestrian', 'car']))
    labels = np.concatenate([found.get_ann_info(i)['gt_labels_3d'] for i in range(len(found))])
    assert set(labels) == {-1, 0, 1}
