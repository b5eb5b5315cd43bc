"""Driving scenes: objects, their places, and their images in the cameras."""

import cv2
import numpy as np
import pytest
import torch

from projects.bevdet.driving.frames import draw_frames
from projects.bevdet.driving.nuscenes_tables import NuScenesTables
from projects.bevdet.driving.pictures import OVERSAMPLING, ScenePainter
from projects.bevdet.driving.scenes import CAMERAS, CLASSES, Cuboid, Scene, bgr

pytest.importorskip('mmdet3d', reason='needs mmdet3d')
from mmdet3d.structures import LiDARInstance3DBoxes

from projects.bevdet.driving.nuscenes_infos import frame_info


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
        # Other changed pixels are the rim and the narrow shadow on the ground.
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
        # Edges are clipped in double precision, to a few of its steps at hundreds of pixels.
        assert -1e-9 <= left < right <= 320 + 1e-9
        assert -1e-9 <= top < bottom <= 180 + 1e-9


def test_front_and_back_look_different():
    faces = []
    for yaw in (0, np.pi):
        image = next(draw_frames(alone(0, 12, 0, yaw))).images['CAM_FRONT']
        faces.append(image[60:120, 120:200].mean())
    assert faces[0] < faces[1] - 2  # the rear is dark, the windscreen light
