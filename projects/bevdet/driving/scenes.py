"""The objects of a generated driving scene: cuboids on a plane around a moving car.

Everything is computed from integers, so a seed gives the same scene on every machine. Coordinates
are nuScenes': the ego frame stands on the ground below the rear axle, x ahead, y left, z up; metres
and radians throughout.
"""

from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

# nuScenes' detection classes in mmdet3d's order.
CLASSES = (
    'car',
    'truck',
    'trailer',
    'bus',
    'construction_vehicle',
    'bicycle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'barrier',
)
FRAME_SECONDS = 0.5  # nuScenes' keyframes come at 2 Hz
LIDAR2EGO = np.array([[0, 1, 0, 0.94], [-1, 0, 0, 0], [0, 0, 1, 1.84], [0, 0, 0, 1.0]])
SIZE_JITTER = 0.1


class Kind(NamedTuple):
    """How the objects of a class look and behave.

    Attributes:
        size: Width, length and height in metres, about nuScenes' means.
        hue: Colour in degrees.
        saturation: Of the colour, in [0, 1].
        share: How often the class is drawn, against the others' shares.
        moves: How many of its objects move, in [0, 1].
        speeds: The least and the largest speed of those in m/s.
    """

    size: tuple[float, float, float]
    hue: float
    saturation: float
    share: float
    moves: float = 0.0
    speeds: tuple[float, float] = (0.0, 0.0)


KINDS = {
    'car': Kind((1.95, 4.62, 1.73), 215, 0.75, 1.5, 0.45, (2, 8)),
    'truck': Kind((2.51, 6.93, 2.84), 275, 0.6, 0.8, 0.4, (2, 7)),
    'trailer': Kind((2.90, 12.29, 3.87), 185, 0.12, 0.7, 0.4, (2, 6)),
    'bus': Kind((2.94, 11.22, 3.47), 50, 0.8, 0.7, 0.5, (2, 7)),
    'construction_vehicle': Kind((2.73, 6.37, 3.19), 85, 0.75, 0.8, 0.2, (1, 2)),
    'bicycle': Kind((0.60, 1.70, 1.28), 145, 0.8, 1.1, 0.5, (2, 5)),
    'motorcycle': Kind((0.77, 2.11, 1.47), 182, 0.85, 1.1, 0.5, (2, 7)),
    'pedestrian': Kind((0.67, 0.73, 1.77), 318, 0.65, 1.3, 0.6, (0.8, 1.8)),
    'traffic_cone': Kind((0.41, 0.41, 1.07), 20, 0.95, 1.1),
    'barrier': Kind((2.53, 0.50, 0.98), 0, 0.85, 1.1),
}

# Position in the ego frame, yaw in degrees, focal length for 1600 pixels of width.
CAMERAS = {
    'CAM_FRONT': ((1.70, 0.0, 1.51), 0, 1266),
    'CAM_FRONT_RIGHT': ((1.55, -0.49, 1.50), -55, 1266),
    'CAM_FRONT_LEFT': ((1.53, 0.49, 1.51), 55, 1266),
    'CAM_BACK': ((0.03, 0.0, 1.58), 180, 809),
    'CAM_BACK_LEFT': ((1.04, 0.48, 1.59), 110, 1266),
    'CAM_BACK_RIGHT': ((1.01, -0.48, 1.56), -110, 1266),
}


class Cuboid(NamedTuple):
    """An object that stands, or moves ahead at constant speed.

    Attributes:
        label: Index into :data:`CLASSES`.
        size: ``(3,)`` width, length and height.
        start: ``(2,)`` global position at the scene's first frame.
        yaw: Heading in the global frame.
        speed: In m/s along the heading.
        colour: ``(3,)`` BGR, 0 to 255.
    """

    label: int
    size: np.ndarray
    start: np.ndarray
    yaw: float
    speed: float
    colour: np.ndarray

    @property
    def attribute(self) -> str:
        """The attribute in nuScenes; empty for classes without one."""
        name, moving = CLASSES[self.label], self.speed > 0
        if name in ('traffic_cone', 'barrier'):
            return ''
        if name == 'pedestrian':
            return 'pedestrian.moving' if moving else 'pedestrian.standing'
        if name in ('bicycle', 'motorcycle'):
            return 'cycle.with_rider' if moving else 'cycle.without_rider'
        if moving:
            return 'vehicle.moving'
        return 'vehicle.stopped' if name == 'bus' else 'vehicle.parked'  # buses wait at stops

    @property
    def velocity(self) -> np.ndarray:
        """``(3,)`` velocity in the global frame in m/s."""
        return self.speed * np.array([np.cos(self.yaw), np.sin(self.yaw), 0])

    def pose(self, time: float) -> np.ndarray:
        """Gives the ``(4, 4)`` matrix from the cuboid's own frame to the global one.

        Its own frame has the origin in the middle of the footprint, x ahead, y left, z up.
        """
        x, y = self.start + self.velocity[:2] * time
        return rigid(self.yaw, (x, y, 0))


class Camera(NamedTuple):
    """A pinhole camera.

    Attributes:
        cam2ego: ``(4, 4)``; the camera looks along its z, x is right and y is down.
        cam2img: ``(3, 3)`` intrinsics; a pixel ``(column, row)`` reaches from there to one more.
        size: Width and height of the image in pixels.
    """

    cam2ego: np.ndarray
    cam2img: np.ndarray
    size: tuple[int, int]


class Scene:
    """A car that drives straight ahead among cuboids.

    Args:
        seed: Any integers; with ``frames`` they determine the scene.
        frames: Number of keyframes; the cuboids stand along the way that the car drives in them.
        image_size: Width and height of the images in pixels.

    Attributes:
        cameras: The six of :data:`CAMERAS`, each a little off its place, as in every real car.
        road2global: ``(4, 4)``; the road runs along its x.
        cuboids: The objects. None overlaps another or the car at any keyframe.
    """

    def __init__(self, seed: tuple[int, ...], frames: int, image_size: tuple[int, int]) -> None:
        self.seed, self.frames = seed, frames
        rng = np.random.default_rng(seed)
        self.cameras = {name: _camera(*CAMERAS[name], image_size, rng) for name in CAMERAS}
        origin = rng.uniform(300, 1500, 2)
        self.road2global = rigid(rng.uniform(-np.pi, np.pi), (*origin, 0))
        self._lane = rng.uniform(-2.5, 2.5)
        self._turn = rng.uniform(-0.04, 0.04)
        self._speed = rng.uniform(0, 6)
        self.cuboids: list[Cuboid] = []
        way = self._speed * FRAME_SECONDS * (frames - 1)
        for _ in range(round(rng.integers(16, 28) * (1 + way / 60))):
            self._add_cuboid(rng)

    @cached_property
    def times(self) -> np.ndarray:
        """``(frames,)`` seconds from the first keyframe."""
        return np.arange(self.frames) * FRAME_SECONDS

    def ego2global(self, time: float) -> np.ndarray:
        """Gives the ``(4, 4)`` pose of the car."""
        ahead = self._speed * time
        x, y = ahead * np.cos(self._turn), self._lane + ahead * np.sin(self._turn)
        return self.road2global @ rigid(self._turn, (x, y, 0))

    def _add_cuboid(self, rng: np.random.Generator) -> None:
        """Places a cuboid at 4 to 30 m; leaves it out where no free place is found."""
        shares = np.array([kind.share for kind in KINDS.values()])
        label = int(rng.choice(len(KINDS), p=shares / shares.sum()))
        kind = KINDS[CLASSES[label]]
        size = np.array(kind.size) * rng.uniform(1 - SIZE_JITTER, 1 + SIZE_JITTER, 3)
        hue = kind.hue + rng.uniform(-7, 7)
        saturation = kind.saturation * rng.uniform(0.8, 1.05)
        colour = bgr(hue, min(saturation, 1), rng.uniform(0.7, 0.95))
        moving = rng.random() < kind.moves
        speed = rng.uniform(*kind.speeds) if moving else 0.0
        for _ in range(30):
            time = rng.choice(self.times)
            distance, angle = rng.uniform(4, 30), rng.uniform(-np.pi, np.pi)
            around = distance * np.array([np.cos(angle), np.sin(angle)])
            place = (self.ego2global(time) @ [*around, 0, 1])[:2]
            yaw = self._heading(kind, rng)
            ahead = speed * np.array([np.cos(yaw), np.sin(yaw)])
            cuboid = Cuboid(label, size, place - ahead * time, yaw, speed, colour)
            if self._is_free(cuboid):
                self.cuboids.append(cuboid)
                return

    def _heading(self, kind: Kind, rng: np.random.Generator) -> float:
        """Turns most vehicles along the road, one way or the other, and all else anywhere."""
        along = kind.size[1] > 1.5 and rng.random() < 0.6
        if not along:
            return float(rng.uniform(-np.pi, np.pi))
        road = np.arctan2(self.road2global[1, 0], self.road2global[0, 0])
        return float(road + rng.choice([0, np.pi]) + rng.normal(0, 0.08))

    def _is_free(self, cuboid: Cuboid) -> bool:
        # The car itself: 4.8 x 2 m, its middle 1.4 m before the rear axle, and 0.8 m around it.
        ego = self.ego2global(0)
        yaw = np.arctan2(ego[1, 0], ego[0, 0])
        size = np.array([3.6, 6.4, 1.7])
        car = Cuboid(0, size, (ego @ [1.4, 0, 0, 1])[:2], float(yaw), self._speed, cuboid.colour)
        return not any(_meet(cuboid, other, self.times) for other in [car, *self.cuboids])


def _meet(one: Cuboid, other: Cuboid, times: np.ndarray, margin: float = 0.35) -> bool:
    """Says whether two footprints come closer than about ``margin`` at any of the times."""
    drift = (other.velocity - one.velocity)[:2]
    apart = other.start - one.start + drift * times[:, None]  # (times, 2)
    reach = (np.hypot(*one.size[:2]) + np.hypot(*other.size[:2])) / 2 + margin
    near = apart[(apart**2).sum(1) < reach**2]
    if not len(near):
        return False
    sides = [rigid(item.yaw)[:2, :2].T for item in (one, other)]  # rows: ahead, left
    axes = np.concatenate(sides)
    extents = sum(
        np.abs(axes @ side.T) @ (item.size[[1, 0]] / 2)
        for side, item in zip(sides, (one, other), strict=True)
    )
    # Two rectangles are apart if and only if they are along a side of one of them.
    return bool((np.abs(near @ axes.T) < extents + margin).all(1).any())


def rigid(yaw: float, translation: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """Gives the ``(4, 4)`` matrix of a turn around z and a shift."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = translation
    return matrix


def bgr(hue: float, saturation: float, value: float) -> np.ndarray:
    """Gives a colour, ``(3,)`` float from 0 to 255, of hue in degrees and the rest in [0, 1]."""
    hsv = np.array([[[hue % 360, saturation, value]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(float) * 255


def _camera(
    position: tuple[float, float, float],
    yaw: float,
    focal: float,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Camera:
    """Mounts a camera a centimetre and half a degree off its place."""
    axes = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    tilt = np.eye(4)
    tilt[:3, :3] = cv2.Rodrigues(rng.normal(0, 0.008, 3))[0]
    place = np.array(position) + rng.normal(0, 0.01, 3)
    cam2ego = rigid(np.deg2rad(yaw), tuple(place)) @ tilt @ axes
    scale = np.array([size[0] / 1600, size[1] / 900, 1])
    focal = focal * rng.normal(1, 0.004)
    centre = np.array([812, 488]) + rng.normal(0, 8, 2)
    cam2img = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    return Camera(cam2ego, cam2img * scale[:, None], size)
