"""Driving scenes drawn in nuScenes form: what is drawn, written, read and evaluated agrees."""

import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope, init_default_scope

from sparse_mm.datasets.driving_frames import draw_frames
from sparse_mm.datasets.driving_pictures import OVERSAMPLING, ScenePainter
from sparse_mm.datasets.driving_scenes import CAMERAS, CLASSES, Cuboid, Scene, bgr
from sparse_mm.datasets.nuscenes_tables import NuScenesTables, token
from sparse_mm.errors import BadInputError
from tests.conftest import ROOT

pytest.importorskip('mmdet3d')
from mmdet3d.evaluation import NuScenesMetric
from mmdet3d.structures import CameraInstance3DBoxes, LiDARInstance3DBoxes
from nuscenes import NuScenes
from nuscenes.utils.geometry_utils import BoxVisibility, points_in_box

from sparse_mm.datasets import driving
from sparse_mm.datasets.nuscenes_infos import frame_info

SETTINGS = dict(num_train_scenes=1, num_val_scenes=6, frames=3, image_size=(160, 90), seed=3)
TINY = dict(num_train_scenes=1, num_val_scenes=1, frames=2, image_size=(64, 36), seed=0)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('driving') / 'scenes'
    driving.write_driving(folder, **SETTINGS)
    return folder


@pytest.fixture(scope='module')
def nusc(root):
    return NuScenes(version='v1.0-trainval', dataroot=str(root), verbose=False)


@pytest.fixture
def mmdet3d_scope():
    before = DefaultScope.get_current_instance()
    init_default_scope('mmdet3d')
    yield
    if before is not None:
        DefaultScope.overwrite_default_scope(before.scope_name)


def dataset(root, split, **options):
    return DATASETS.build(
        dict(
            type='DrivingDataset',
            data_root=str(root),
            ann_file=f'nuscenes_infos_{split}.pkl',
            **{**SETTINGS, **options},
        )
    )


def infos(root, split):
    return pickle.loads((root / f'nuscenes_infos_{split}.pkl').read_bytes())['data_list']


def files(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def alone(label, ahead, left, yaw=0.4, size=(2, 4, 1.6), scene=None):
    """A scene with one cuboid at a place of the first frame's ego frame, or one more in it."""
    if scene is None:
        scene = Scene((5,), 2, (320, 180))
        scene.cuboids = []
    ego = scene.ego2global(0)
    turn = float(np.arctan2(ego[1, 0], ego[0, 0]))
    place = (ego @ [ahead, left, 0, 1])[:2]
    scene.cuboids.append(
        Cuboid(label, np.array(size, float), place, turn + yaw, 0.0, bgr(300, 0.9, 0.9))
    )
    return scene


def test_scenes_follow_from_their_seed():
    one, again, other = (Scene((0, seed), 2, (160, 90)) for seed in (1, 1, 2))
    for name in CAMERAS:
        picture = ScenePainter(one).view(name, 0.5).image
        assert np.array_equal(picture, ScenePainter(again).view(name, 0.5).image)
        assert not np.array_equal(picture, ScenePainter(other).view(name, 0.5).image)


def test_the_same_seed_draws_the_same_files(tmp_path):
    for name in ('one', 'again'):
        driving.write_driving(tmp_path / name, **TINY)
    driving.write_driving(tmp_path / 'other', **{**TINY, 'seed': 1})
    one, again, other = (files(tmp_path / name) for name in ('one', 'again', 'other'))
    assert one == again
    assert one.keys() == other.keys()
    assert not any(one[p] == other[p] for p in one if p.suffix in ('.jpg', '.bin', '.pkl'))
    train, val = (infos(tmp_path / 'one', split)[0] for split in ('train', 'val'))
    assert train['instances'] != val['instances']


def test_a_scene_depends_on_its_own_number_alone(tmp_path):
    driving.write_driving(tmp_path / 'one', **TINY)
    driving.write_driving(tmp_path / 'two', **{**TINY, 'num_train_scenes': 2})
    one, two = infos(tmp_path / 'one', 'val')[1], infos(tmp_path / 'two', 'val')[1]
    assert one['instances'] == two['instances']
    assert one['token'] == two['token']


def test_objects_of_all_classes_stand_apart():
    seen = []
    for seed in range(12):
        scene = Scene((7, seed), 4, (160, 90))
        assert 12 <= len(scene.cuboids) <= 30
        for time in scene.times:
            boxes = [scene.cuboids[i].pose(time) for i in range(len(scene.cuboids))]
            ego = scene.ego2global(time)
            canvas = np.zeros((900, 900), np.uint8)  # a pixel is 10 cm
            area = 0
            car = Cuboid(0, np.array([2, 4.8, 1]), np.zeros(2), 0, 0, np.zeros(3))
            shapes = [(ego @ np.array(Cuboid(*car).pose(0)), car.size, 1.4)]
            shapes += [(b, c.size, 0) for b, c in zip(boxes, scene.cuboids, strict=True)]
            for pose, (width, length, _), shift in shapes:
                corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [length / 2, width / 2]
                flat = np.c_[corners + np.array([shift, 0]), np.zeros(4), np.ones(4)] @ pose.T
                pixels = (flat[:, :2] - ego[:2, 3]) * 10 + 450
                one = np.zeros_like(canvas)
                cv2.fillConvexPoly(one, np.round(pixels).astype(np.int32), 1)
                area += int(one.sum())
                canvas |= one
            assert area == canvas.sum()
        seen += [cuboid.label for cuboid in scene.cuboids]
    assert min(np.bincount(seen, minlength=len(CLASSES))) >= 3


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
    # The lidar frame is turned as in the real data: what is ahead lies along its y.
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
                # mmdet3d's boxes stand straight; cameras are tilted by a degree.
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


@pytest.mark.parametrize('place', [(9, 1.5, 0.4), (7, -9, 2.0), (-11, 0, -1.0), (-3, 8, 0.1)])
def test_pixels_lie_where_the_corners_project(tmp_path, place):
    ahead, left, yaw = place
    scene = alone(0, ahead, left, yaw)
    frame = next(draw_frames(scene))
    nothing = alone(0, ahead, left, yaw)
    nothing.cuboids = []
    empty = ScenePainter(nothing)
    tables = NuScenesTables(tmp_path, 0)
    info = frame_info(tables, 0, 'any', 0, scene, frame)
    box = torch.tensor([info['instances'][0]['bbox_3d']])
    corners = LiDARInstance3DBoxes(box, origin=(0.5, 0.5, 0.5)).corners[0].numpy()
    found = 0
    for channel, camera in info['images'].items():
        lidar2img = np.array(camera['cam2img']) @ np.array(camera['lidar2cam'])[:3]
        image = np.c_[corners, np.ones(8)] @ lidar2img.T
        if (image[:, 2] < 1).any():
            continue
        hull = cv2.convexHull((image[:, :2] / image[:, 2:]).astype(np.float32))[:, 0]
        scale = 8  # the hull in eighths of pixels, from the upper left corner of the first
        fine = np.zeros((180 * scale, 320 * scale), np.uint8)
        cv2.fillConvexPoly(fine, np.round(hull * scale - 0.5).astype(np.int32), 1)
        expected = cv2.resize(fine.astype(np.float32), (320, 180), interpolation=cv2.INTER_AREA)
        if expected.sum() < 50:
            continue
        before, after = empty.view(channel, 0.0).image, frame.images[channel]
        changed = np.abs(after.astype(int) - before).max(2) > 12
        assert changed[expected == 1].mean() > 0.97
        # What else changed is the rim and the narrow shadow on the ground.
        near = cv2.dilate((expected > 0).astype(np.uint8), np.ones((21, 21))).astype(bool)
        assert not changed[~near].any()
        owned = (ScenePainter(scene).view(channel, 0.0).owner == 0).sum() / OVERSAMPLING**2
        assert owned == pytest.approx(expected.sum(), rel=0.06)
        found += 1
        if channel in info['cam_instances']:
            left_top = np.maximum(hull.min(0), 0)
            right_bottom = np.minimum(hull.max(0), [320, 180])
            (instance,) = info['cam_instances'][channel]
            assert np.allclose(instance['bbox'], [*left_top, *right_bottom], atol=0.01)
    assert found >= 1


def test_hidden_objects_have_no_points():
    scene = alone(0, 10, 0, yaw=1.6, size=(3, 12, 3.5))
    front = next(draw_frames(scene))
    assert front.num_points[0] > 20
    assert front.visibility[0] == 4
    alone(8, 16, 0, size=(0.4, 0.4, 1), scene=scene)
    frame = next(draw_frames(scene))
    assert frame.num_points[1] == 0
    assert frame.visibility[1] == 1
    assert all(1 not in boxes for boxes in frame.boxes.values())
    beside = next(draw_frames(alone(8, 16, 0, size=(0.4, 0.4, 1))))
    assert beside.num_points[0] >= 1


def test_cuboids_beside_a_camera_are_cut_at_the_images_edges():
    frame = next(draw_frames(alone(3, 1.0, 3.2, yaw=0, size=(3, 12, 3.5))))
    cameras = [name for name, boxes in frame.boxes.items() if 0 in boxes]
    assert {'CAM_FRONT_LEFT', 'CAM_BACK_LEFT'} <= set(cameras)
    for name in cameras:
        left, top, right, bottom = frame.boxes[name][0]
        assert 0 <= left < right <= 320 + 1e-6
        assert 0 <= top < bottom <= 180 + 1e-6


def test_front_and_back_look_different():
    faces = []
    for yaw in (0, np.pi):
        image = next(draw_frames(alone(0, 12, 0, yaw))).images['CAM_FRONT']
        faces.append(image[60:120, 120:200].mean())
    assert faces[0] < faces[1] - 2  # the rear is dark, the windscreen light


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


def test_drawn_on_first_use_then_kept(tmp_path, capfd):
    found = dataset(tmp_path / 'new' / 'scenes', 'val', **TINY)
    assert len(found) == 2
    assert '4/4' in capfd.readouterr().err
    before = files(tmp_path)
    assert len(dataset(tmp_path / 'new' / 'scenes', 'train', **TINY)) == 2
    assert files(tmp_path) == before
    assert 'Drawing' not in capfd.readouterr().err


def test_drawn_again_after_a_kill(tmp_path, monkeypatch):
    def kill(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(NuScenesTables, 'write', kill)
        with pytest.raises(KeyboardInterrupt):
            driving.write_driving(tmp_path / 'scenes', **TINY)
    assert not (tmp_path / 'scenes').exists()
    assert list(tmp_path.rglob('*.jpg'))
    (tmp_path / '.scenes.unfinished' / 'leftover').touch()
    driving.write_driving(tmp_path / 'scenes', **TINY)
    assert not (tmp_path / 'scenes' / 'leftover').exists()
    assert not (tmp_path / '.scenes.unfinished').exists()
    assert (tmp_path / 'scenes' / 'nuscenes_infos_val.pkl').is_file()


def test_drawn_once_by_many(tmp_path, monkeypatch):
    calls, draw = [], driving._draw
    monkeypatch.setattr(driving, '_draw', lambda *a: (calls.append(a), draw(*a)))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: driving.write_driving(tmp_path / 'a', **TINY), range(3)))
    assert len(calls) == 1


def test_other_scenes_are_not_written_over(tmp_path):
    driving.write_driving(tmp_path / 'a', **TINY)
    before = files(tmp_path)
    with pytest.raises(BadInputError, match=r'holds other scenes .* delete the folder or set'):
        driving.write_driving(tmp_path / 'a', **{**TINY, 'seed': 4})
    assert files(tmp_path) == before


def test_other_folders_are_not_touched(tmp_path):
    (tmp_path / 'nuscenes' / 'samples').mkdir(parents=True)
    (tmp_path / 'nuscenes' / 'nuscenes_infos_train.pkl').write_bytes(b'mine')
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(BadInputError, match='holds something else than drawn driving scenes'):
        driving.write_driving(tmp_path / 'nuscenes', **TINY)
    assert sorted(tmp_path.rglob('*')) == before
    (tmp_path / 'nuscenes' / 'settings.json').write_text('{"of": "another program"}')
    with pytest.raises(BadInputError, match='holds something else than drawn driving scenes'):
        driving.write_driving(tmp_path / 'nuscenes', **TINY)
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(BadInputError, match='holds something else'):
        driving.write_driving(tmp_path / 'file', **TINY)
    with pytest.raises(BadInputError, match=r'cannot be drawn into .* set data_root'):
        driving.write_driving(tmp_path / 'file' / 'below', **TINY)
    # An empty folder, or a link to one, is nobody's.
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'empty')
    driving.write_driving(tmp_path / 'link', **TINY)
    assert (tmp_path / 'empty' / 'settings.json').is_file()
    assert (tmp_path / 'link').is_symlink()


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(num_train_scenes=701), 'num_train_scenes is 701; it must be 1 to 700'),
        (dict(num_val_scenes=0), 'num_val_scenes is 0; it must be 1 to 150'),
        (dict(frames=1), 'frames is 1; it must be at least 2'),
        (dict(seed=-1), 'seed is -1; it must be 0 or more'),
        (dict(image_size=(0, 90)), 'image_size'),
        (dict(image_size=400), 'image_size'),
    ],
)
def test_wrong_settings_are_refused(tmp_path, wrong, message):
    with pytest.raises(BadInputError, match=message):
        driving.write_driving(tmp_path / 'a', **{**TINY, **wrong})
    assert not list(tmp_path.iterdir())


def test_wrong_annotation_file_is_refused(root):
    with pytest.raises(BadInputError, match=r'nuscenes_infos_train.pkl and .* ann_file is'):
        dataset(root, 'test')


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


def test_mmdet3d_is_imported_on_use_alone(tmp_path):
    code = (
        'import sys, sparse_mm\n'
        'from mmengine.registry import DATASETS\n'
        "assert DATASETS.get('DrivingDataset') and 'mmdet3d' not in sys.modules\n"
        "sys.modules['mmdet3d'] = None\n"
        'try:\n'
        "    DATASETS.build(dict(type='DrivingDataset', data_root='a', ann_file='b'))\n"
        'except ImportError as error:\n'
        "    print('needs', error.name)\n"
    )
    out = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert 'needs mmdet3d' in out.stdout


def test_drawn_sets_can_be_moved(root, tmp_path):
    shutil.copytree(root, tmp_path / 'moved')
    info = dataset(tmp_path / 'moved', 'val').get_data_info(0)
    path = info['images']['CAM_BACK']['img_path']
    assert path.startswith(str(tmp_path / 'moved' / 'samples' / 'CAM_BACK'))
    assert cv2.imread(path).shape == (90, 160, 3)
