"""Projections stay correct under every augmentation."""

import copy
import pickle

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet3d', reason='needs mmdet3d')
from mmdet3d.structures import LiDARInstance3DBoxes

from projects.bevdet.bevdet import AugmentBEV, AugmentSurroundImages, LoadSurroundImages

TRAIN = dict(zoom=(-0.06, 0.11), shift=True, flip=0.5, rotate=(-5.4, 5.4))


def project(points, lidar2img):
    """Pixels (N, 2) and depths (N,) of points (N, 3)."""
    points = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ lidar2img.T
    return points[:, :2] / points[:, 2:3], points[:, 2]


def fronts(boxes):
    """Middles of the front faces of LiDAR boxes: (N, 3)."""
    heading = torch.stack([boxes.yaw.cos(), boxes.yaw.sin(), torch.zeros(len(boxes))], dim=1)
    return (boxes.gravity_center + heading * boxes.dims[:, :1] / 2).numpy()


@pytest.fixture(scope='module')
def keyframe():
    """Loads the real frame: images, projections and boxes in the LiDAR frame."""
    from tests.conftest import SHARED

    root = SHARED / 'data/nuscenes'
    if not root.exists():
        pytest.skip('needs data/nuscenes in a folder "shared" beside the checkout')
    info = pickle.loads((root / 'nuscenes_infos_demo.pkl').read_bytes())['data_list'][0]
    for camera, image in info['images'].items():
        image['img_path'] = str(root / 'samples' / camera / image['img_path'])
    boxes = np.array([box['bbox_3d'] + box['velocity'] for box in info['instances']])
    results = LoadSurroundImages(num_views=6).transform(info)
    results['gt_bboxes_3d'] = LiDARInstance3DBoxes(
        torch.tensor(np.nan_to_num(boxes), dtype=torch.float32), 9, origin=(0.5, 0.5, 0.5)
    )
    return results


def test_loaded_projections_hit_the_annotated_boxes(keyframe):
    """The info file's 2D centres of each camera, which its authors projected themselves."""
    centres = keyframe['gt_bboxes_3d'].gravity_center.numpy()
    compared = 0
    for projection, (camera, annotated) in zip(
        keyframe['lidar2img'], keyframe['cam_instances'].items(), strict=True
    ):
        assert camera in keyframe['images']
        pixels, depths = project(centres, projection)
        for box in annotated:
            distance = np.linalg.norm(pixels - box['center_2d'], axis=1)
            best = np.argmin(distance)
            assert distance[best] < 1
            assert depths[best] == pytest.approx(box['depth'], abs=0.05)
            compared += 1
    assert compared == 84


@pytest.mark.parametrize('settings', [{}, TRAIN], ids=['test', 'train'])
@pytest.mark.parametrize('size', [(256, 704), (192, 528), (128, 352)])
def test_box_centres_land_in_their_pixels(keyframe, settings, size):
    """A spot painted at a box's pixel is where the new matrix projects the box, in every camera."""
    np.random.seed(0)
    centres = keyframe['gt_bboxes_3d'].gravity_center.numpy()
    augment = AugmentSurroundImages(size=size, **settings)
    seen = 0
    for projection in keyframe['lidar2img']:
        pixels, depths = project(centres, projection)
        inside = (depths > 1) & (pixels > 40).all(1) & (pixels < [1560, 860]).all(1)
        in_camera = 0
        for centre, pixel in zip(centres[inside], pixels[inside], strict=True):
            image = np.zeros((900, 1600, 3), np.uint8)
            cv2.circle(image, np.round(pixel * 16).astype(int).tolist(), 16 * 12, [255] * 3, -1,
                       shift=4, lineType=cv2.LINE_AA)  # fmt: skip
            out = augment.transform(dict(img=[image], lidar2img=[projection]))
            weight = out['img'][0][..., 0].astype(float)
            assert weight.shape == size
            (expected,), (depth,) = project(centre[None], out['lidar2img'][0])
            if not ((expected > 8) & (expected < np.array(size[::-1]) - 8)).all():
                continue  # cropped away
            rows, columns = np.indices(size)
            found = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
            assert np.abs(found - expected).max() < 0.3
            assert depth == pytest.approx(project(centre[None], projection)[1][0])
            in_camera += 1
        seen += in_camera > 0
    assert seen >= 5  # cameras


def test_the_scene_moves_and_the_pixels_stay(keyframe):
    np.random.seed(1)
    for _ in range(5):
        before = keyframe['gt_bboxes_3d']
        results = dict(gt_bboxes_3d=before.clone(), lidar2img=copy.deepcopy(keyframe['lidar2img']))
        after = AugmentBEV().transform(results)
        moved = after['gt_bboxes_3d']
        assert not torch.allclose(moved.tensor, before.tensor)
        for old, new in zip(keyframe['lidar2img'], after['lidar2img'], strict=True):
            # All eight corners, so sizes and headings are right too.
            pixels, depths = project(before.corners.reshape(-1, 3).numpy(), old)
            again, depths_again = project(moved.corners.reshape(-1, 3).numpy(), new)
            ahead = (depths > 1) & (pixels > 0).all(1) & (pixels < [1600, 900]).all(1)
            order = np.linalg.norm(pixels[ahead, None] - again[depths_again > 0.5], axis=-1)
            assert order.min(1).max() < 0.1  # mirrored boxes name their corners in another order
            assert np.abs(np.sort(depths) - np.sort(depths_again)).max() < 1e-3
        # A heading points to the front.
        pixels, depths = project(fronts(before), keyframe['lidar2img'][0])
        again, _ = project(fronts(moved), after['lidar2img'][0])
        ahead = (depths > 1) & (pixels > 0).all(1) & (pixels < [1600, 900]).all(1)
        assert np.abs(pixels - again)[ahead].max() < 0.1
        # A velocity is a movement of the centre.
        seconds = 0.5
        later = before.clone()
        later.tensor[:, :2] += seconds * before.tensor[:, 7:9]
        projection = keyframe['lidar2img'][0]
        later_moved = moved.gravity_center.clone()
        later_moved[:, :2] += seconds * moved.tensor[:, 7:9]
        pixels, depths = project(later.gravity_center.numpy(), projection)
        again, _ = project(later_moved.numpy(), after['lidar2img'][0])
        inside = (depths > 1) & (pixels > 0).all(1) & (pixels < [1600, 900]).all(1)
        assert np.abs(pixels - again)[inside].max() < 0.1


def test_testing_changes_nothing_at_random(keyframe):
    transform = AugmentSurroundImages(size=(256, 704))
    runs = [transform.transform(dict(keyframe)) for _ in range(2)]
    for one, two in zip(runs[0]['img'], runs[1]['img'], strict=True):
        assert (one == two).all()
    # The bottom of the image stays, the sky is cropped: 1600x900 -> 704x396 -> 704x256.
    scaled = cv2.resize(keyframe['img'][0], (704, 396), interpolation=cv2.INTER_LINEAR)
    assert (runs[0]['img'][0] == scaled[140:]).all()


def test_interpolation_is_what_the_config_says(keyframe):
    images = [
        AugmentSurroundImages(size=(256, 704), interpolation=name).transform(dict(keyframe))
        for name in ('nearest', 'bicubic')
    ]
    assert (images[0]['img'][0] != images[1]['img'][0]).any()
