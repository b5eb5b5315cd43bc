"""Draws the frames of driving scenes, and computes what their cameras and lidar see."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from projects.bevdet.driving.pictures import OVERSAMPLING, ScenePainter, View
from projects.bevdet.driving.scenes import LIDAR2EGO, Camera, Scene

# A lidar point for every so many radians of width and height that an object fills.
POINT_SPACING = 1 / 32
# Seen is what shows at least this part of itself, of the size of some 15 pixels of 400 x 225.
LEAST_PART = 0.15
LEAST_POINTS = 0.15
GROUND_POINTS = 120  # a camera


class Frame(NamedTuple):
    """A moment of a scene.

    Attributes:
        time: Seconds from the first keyframe.
        images: For each camera ``(H, W, 3)`` uint8, BGR.
        points: ``(points, 5)`` float32: x, y, z in the lidar frame, intensity 0 and ring 0.
        num_points: ``(cuboids,)`` the points on each; 0 says that no camera sees it.
        visibility: ``(cuboids,)`` nuScenes' levels, 1 to 4, of the part that the cameras see.
        boxes: For each camera the cuboids it sees: index and outline's bounds (left, top, right,
            bottom in pixels).
    """

    time: float
    images: dict[str, np.ndarray]
    points: np.ndarray
    num_points: np.ndarray
    visibility: np.ndarray
    boxes: dict[str, dict[int, np.ndarray]]


def draw_frames(scene: Scene) -> Iterator[Frame]:
    """Draws a scene's keyframes, in order."""
    painter = ScenePainter(scene)
    for number, time in enumerate(scene.times):
        rng = np.random.default_rng((*scene.seed, 2, number))
        views = {name: painter.view(name, time) for name in scene.cameras}
        yield _frame(scene, time, views, rng)


def _frame(scene: Scene, time: float, views: dict[str, View], rng: np.random.Generator) -> Frame:
    count = len(scene.cuboids)
    seen, whole, num_points = np.zeros(count), np.zeros(count), np.zeros(count, int)
    boxes: dict[str, dict[int, np.ndarray]] = {}
    clouds = []
    for name, view in views.items():
        camera = scene.cameras[name]
        pixels = np.bincount(view.owner.ravel() + 1, minlength=count + 1)[1:]
        areas = np.array([view.areas.get(i, 0) for i in range(count)])
        points = pixels / _pixels_per_point(camera)
        visible = (points >= LEAST_POINTS) & (pixels >= LEAST_PART * areas)
        boxes[name] = {i: view.boxes[i] for i in np.flatnonzero(visible)}
        seen, whole = seen + pixels, whole + areas
        clouds.append(_ground_points(view, camera, rng))
        for index in boxes[name]:
            number = max(1, round(points[index]))
            cloud = _cuboid_points(view, camera, index, number, rng)
            ego2own = np.linalg.inv(scene.cuboids[index].pose(time)) @ scene.ego2global(time)
            clouds.append(_pull_inside(cloud, ego2own, scene.cuboids[index].size))
            num_points[index] += number
    points = np.concatenate(clouds)
    points = (points - LIDAR2EGO[:3, 3]) @ LIDAR2EGO[:3, :3]  # the inverse
    points = np.pad(points, ((0, 0), (0, 2))).astype(np.float32)
    part = np.where(num_points > 0, seen / np.maximum(whole, 1), 0)
    visibility = 1 + np.searchsorted([0.4, 0.6, 0.8], part)
    images = {name: view.image for name, view in views.items()}
    return Frame(time, images, points, num_points, visibility, boxes)


def _pixels_per_point(camera: Camera) -> float:
    focal = camera.cam2img[[0, 1], [0, 1]] * OVERSAMPLING
    return float(np.prod(focal)) * POINT_SPACING**2


def _ground_points(view: View, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Picks points of the ground to 50 m that no cuboid hides: ``(points, 3)``, ego frame."""
    shape = view.owner.shape
    rows, columns = (rng.integers(side, size=GROUND_POINTS) for side in shape)
    free = view.owner[rows, columns] < 0
    rays = _rays(camera, rows[free], columns[free])
    height = camera.cam2ego[2, 3]
    rays = rays[rays[:, 2] < -height / 50]
    return camera.cam2ego[:3, 3] - rays * (height / rays[:, 2:])


def _cuboid_points(
    view: View, camera: Camera, index: int, number: int, rng: np.random.Generator
) -> np.ndarray:
    """Picks points of a cuboid's visible faces: ``(points, 3)`` in the ego frame."""
    left, top, right, bottom = (view.boxes[index] * OVERSAMPLING).astype(int)
    left, top = max(left - 1, 0), max(top - 1, 0)
    rows, columns = np.nonzero(view.owner[top : bottom + 2, left : right + 2] == index)
    picked = rng.integers(len(rows), size=number)
    rows, columns = rows[picked] + top, columns[picked] + left
    depth = 1 / view.inverse_depth[rows, columns]
    return camera.cam2ego[:3, 3] + _rays(camera, rows, columns) * depth[:, None]


def _rays(camera: Camera, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Gives ``(points, 3)`` from the camera through finer pixels, of depth 1, in the ego frame."""
    pixels = np.stack([columns + 0.5, rows + 0.5, np.full(len(rows), OVERSAMPLING)]) / OVERSAMPLING
    return (camera.cam2ego[:3, :3] @ np.linalg.inv(camera.cam2img) @ pixels).T


def _pull_inside(cloud: np.ndarray, ego2own: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Moves points from a cuboid's faces to just below them, so that all are within its box."""
    own = cloud @ ego2own[:3, :3].T + ego2own[:3, 3]
    half = size[[1, 0, 2]] / 2
    middle = np.array([0, 0, half[2]])
    own = (own - middle).clip(-0.98 * half, 0.98 * half) + middle
    return (own - ego2own[:3, 3]) @ ego2own[:3, :3]
