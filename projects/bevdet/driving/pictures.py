"""Renders driving scenes: shaded cuboids on a road under a sky, with a depth buffer."""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from projects.bevdet.driving.scenes import CLASSES, Camera, Cuboid, Scene

OVERSAMPLING = 2  # objects are drawn this much finer, which smooths their edges
NEAR = 0.2  # metres before the camera from where objects are drawn
CELL = 0.1  # metres of ground under a texel

# Each face in units of the cuboid's size: a corner, the two sides from there, the axis across.
FACES = {
    'front': ((0.5, -0.5, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)),
    'back': ((-0.5, -0.5, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0)),
    'left': ((-0.5, 0.5, 0), (1, 0, 0), (0, 0, 1), (0, 1, 0)),
    'right': ((-0.5, -0.5, 0), (1, 0, 0), (0, 0, 1), (0, -1, 0)),
    'top': ((-0.5, -0.5, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
}
SIDES = ('front', 'back', 'left', 'right')
WHOLE = (0.0, 0.0, 1.0, 1.0)
LIGHT, DARK, WHITE = (235, 225, 205), (45, 40, 35), (240, 240, 240)
SKIN, HEADLAMP, TAIL_LAMP, CLOTHES = (150, 185, 230), (190, 250, 255), (40, 30, 250), (110, 50, 30)

Patch = tuple[tuple[float, float, float, float], tuple[int, int, int]]


@cache
def patches(label: int, moving: bool) -> dict[str, list[Patch]]:
    """Says what is painted on the faces: by it the heading and whether the object moves are seen.

    Args:
        label: Index into ``CLASSES``.
        moving: Whether the object moves.

    Returns:
        For each face rectangles, from the face's corner in units of its sides, with BGR colours.
    """
    name = CLASSES[label]
    if name == 'traffic_cone':
        return {side: [((0, 0.4, 1, 0.7), WHITE)] for side in SIDES}
    if name == 'barrier':
        stripes: list[Patch] = [((x, 0.15, x + 0.2, 0.85), WHITE) for x in (0.0, 0.4, 0.8)]
        return {'front': stripes, 'back': stripes}
    if name == 'pedestrian':
        legs = [(0, 0, 0.35, 0.45), (0.65, 0, 1, 0.45)] if moving else [(0, 0, 1, 0.45)]
        painted: dict[str, list[Patch]] = {side: [(leg, DARK) for leg in legs] for side in SIDES}
        painted['front'].append(((0.15, 0.72, 0.85, 1), SKIN))
        painted['back'].append(((0.15, 0.72, 0.85, 1), DARK))
        return painted
    if name in ('bicycle', 'motorcycle'):
        painted = {
            'front': [((0.1, 0.35, 0.9, 0.65), LIGHT)],
            'back': [((0.1, 0.3, 0.9, 0.6), DARK)],
        }
        for side in ('left', 'right'):  # wheels, and the rider of those that move
            painted[side] = [((0, 0, 0.3, 0.35), DARK), ((0.7, 0, 1, 0.35), DARK)]
            painted[side] += [((0.25, 0.55, 0.65, 1), CLOTHES)] if moving else []
        if moving:
            painted['front'].append(((0.1, 0.7, 0.9, 1), SKIN))
            painted['back'].append(((0.1, 0.65, 0.9, 1), CLOTHES))
        return painted
    painted = {'front': [((0.08, 0.5, 0.92, 0.92), LIGHT)], 'back': [((0.1, 0.5, 0.9, 0.9), DARK)]}
    windows = {'car': (0.2, 0.55, 0.8, 0.9), 'bus': (0.04, 0.5, 0.96, 0.85)}
    for side in ('left', 'right'):
        painted[side] = [(windows.get(name, (0.78, 0.5, 0.95, 0.85)), DARK)]
        painted[side] += [((x, 0, x + 0.14, 0.14), DARK) for x in (0.1, 0.76)]
    if moving:
        for left in (0.04, 0.76):
            painted['front'].append(((left, 0.14, left + 0.2, 0.3), HEADLAMP))
            painted['back'].append(((left, 0.14, left + 0.2, 0.3), TAIL_LAMP))
    return painted


class View(NamedTuple):
    """What a camera sees at one moment.

    Attributes:
        image: ``(H, W, 3)`` uint8, BGR.
        owner: ``(OVERSAMPLING * H, OVERSAMPLING * W)`` int16: the index of the cuboid that is
            seen there, -1 for none.
        inverse_depth: Of that cuboid, in 1/m, float32 of the same shape.
        boxes: For each cuboid that is in the picture, hidden or not, its index and its outline's
            bounds: left, top, right, bottom in pixels.
        areas: For each of these, the area that its faces would cover if nothing hid them, in
            finer pixels.
    """

    image: np.ndarray
    owner: np.ndarray
    inverse_depth: np.ndarray
    boxes: dict[int, np.ndarray]
    areas: dict[int, float]


class ScenePainter:
    """Draws the views of one scene; what does not change within it is prepared once.

    Args:
        scene: The scene.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        rng = np.random.default_rng((*scene.seed, 1))
        light = rng.uniform(0.8, 1.1)
        self._haze = np.array([225, 215, 205]) * light * rng.uniform(0.85, 1, 3)
        self._zenith = np.array([200, 150, 105]) * light * rng.uniform(0.8, 1.1, 3)
        self._ground = (ground_texture(rng) * light).clip(0, 255).astype(np.uint8)
        angle = rng.uniform(-np.pi, np.pi)
        self._sun = np.array([np.cos(angle) * 0.6, np.sin(angle) * 0.6, 0.5])
        self._light = light
        self._grounds = {name: self._backdrop(c) for name, c in scene.cameras.items()}

    def view(self, channel: str, time: float) -> View:
        """Renders what a camera sees.

        Args:
            channel: The camera's name.
            time: Seconds from the first keyframe.
        """
        camera = self.scene.cameras[channel]
        global2cam = np.linalg.inv(self.scene.ego2global(time) @ camera.cam2ego)
        projection = camera.cam2img @ global2cam[:3]  # (3, 4)
        width, height = camera.size
        layer = _Layer(width, height)
        shadow = np.zeros((height, width), np.uint8)
        for index, cuboid in enumerate(self.scene.cuboids):
            self._draw(layer, shadow, projection @ cuboid.pose(time), index, cuboid)
        image = self._draw_ground(channel, projection)
        mask = (layer.owner >= 0).astype(np.float32)
        covered = cv2.resize(mask, camera.size, interpolation=cv2.INTER_AREA)
        shown = (1 - covered) * (1 - 0.5 / 255 * cv2.blur(shadow, (3, 3)))
        image *= shown[..., None].astype(np.float32)
        image += cv2.resize(layer.colour, camera.size, interpolation=cv2.INTER_AREA)
        picture = np.clip(image, 0, 255, out=image).astype(np.uint8)
        return View(picture, layer.owner, layer.inverse_depth, layer.boxes, layer.areas)

    def _backdrop(self, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """Prepares how much of the ground is seen, ``(H, W, 1)``, and sky and haze over it."""
        width, height = camera.size
        columns, rows = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
        img2cam = np.linalg.inv(camera.cam2img)
        # The rays of depth 1: how far they rise, and how long they are.
        x, y, z = camera.cam2ego[2, :3] @ img2cam
        length = np.hypot(img2cam[0, 0] * columns + img2cam[0, 2], 1)
        length = np.hypot(img2cam[1, 1] * rows + img2cam[1, 2], length)
        rise = (x * columns + y * rows + z) / length
        distance = camera.cam2ego[2, 3] / np.maximum(-rise, 1e-6)
        clear = np.where(rise < 0, np.exp(-distance / 60), 0)[..., None]
        high = (rise * 2.5).clip(0, 1)[..., None]
        sky = self._haze * (1 - high) + self._zenith * high
        return clear.astype(np.float32), (sky * (1 - clear)).astype(np.float32)

    def _draw_ground(self, channel: str, projection: np.ndarray) -> np.ndarray:
        camera = self.scene.cameras[channel]
        road2img = (projection @ self.scene.road2global)[:, [0, 1, 3]]  # of the plane z = 0
        middle = self._ground.shape[1] / 2
        road2texel = np.array([[0, 1 / CELL, middle], [1 / CELL, 0, 0], [0, 0, 1]])
        to_centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        img2texel = road2texel @ np.linalg.inv(road2img) @ to_centre
        ground = cv2.warpPerspective(
            self._ground,
            img2texel,
            camera.size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )
        clear, backdrop = self._grounds[channel]
        return ground * clear + backdrop

    def _draw(
        self,
        layer: '_Layer',
        shadow: np.ndarray,
        projection: np.ndarray,
        index: int,
        cuboid: Cuboid,
    ) -> None:
        """Draws a cuboid; ``projection`` is ``(3, 4)`` from its own frame."""
        scale = cuboid.size[[1, 0, 2]]
        footprint = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * (scale / 2 + 0.12)
        hull = np.concatenate([footprint, footprint + np.array([0, 0, scale[2]])])
        if not layer.sees(_project(projection, hull)):
            return
        eye = -np.linalg.solve(projection[:, :3], projection[:, 3])  # the camera, from the cuboid
        painted = patches(cuboid.label, cuboid.speed > 0)
        turn = cuboid.pose(0)[:3, :3]
        clear = np.exp(-np.linalg.norm(eye) / 90)
        layer.fill_shadow(shadow, _project(projection, footprint))
        for face, (corner, across, up, normal) in FACES.items():
            sides = np.array([corner, across, up]) * scale
            if np.dot(normal, eye - sides[0]) <= 0:
                continue  # turned away
            plane = _plane(_project(projection, _rectangle(sides, WHOLE)))
            brightness = self._light * (0.62 + 0.55 * max(0, turn @ normal @ self._sun))
            brightness *= 0.88 if face in ('left', 'right') else 1
            for number, (rectangle, colour) in enumerate(
                [(WHOLE, cuboid.colour), *painted.get(face, [])]
            ):
                shaded = np.array(colour) * brightness * clear + self._haze * (1 - clear)
                outline = _project(projection, _rectangle(sides, rectangle))
                layer.fill(outline, plane, index, shaded.clip(0, 255), counts=number == 0)


class _Layer:
    """The cuboids' part of a view, finer than the image."""

    def __init__(self, width: int, height: int) -> None:
        shape = height * OVERSAMPLING, width * OVERSAMPLING
        self.colour = np.zeros((*shape, 3), np.uint8)
        self.owner = np.full(shape, -1, np.int16)
        self.inverse_depth = np.zeros(shape, np.float32)
        self.boxes: dict[int, np.ndarray] = {}
        self.areas: dict[int, float] = {}
        # What is in view: rows are half-spaces of image coordinates times depth.
        self._walls = np.array([[0, 0, 1], [1, 0, 0], [-1, 0, width], [0, 1, 0], [0, -1, height]])
        self._size = width, height
        self._starts = np.array([NEAR, 0, 0, 0, 0])

    def sees(self, points: np.ndarray) -> bool:
        """Says whether the hull of points, ``(points, 3)``, may be in view."""
        return not (points @ self._walls.T < self._starts).all(0).any()

    def _clip(self, outline: np.ndarray) -> np.ndarray:
        """Cuts a polygon, ``(points, 3)``, to what is in view; gives ``(points, 2)`` in pixels."""
        inside = outline @ self._walls.T - self._starts  # (points, walls)
        if (inside < 0).all(0).any():
            return np.zeros((0, 2))
        if (inside < 0).any():
            for wall, start in zip(self._walls, self._starts, strict=True):
                outline = _cut(outline, outline @ wall - start)
        return (outline[:, :2] / outline[:, 2:]).clip(0, self._size)  # cuts are exact to rounding

    def fill(
        self, outline: np.ndarray, plane: np.ndarray, index: int, colour: np.ndarray, counts: bool
    ) -> None:
        """Fills a polygon where nothing before hides it.

        Args:
            outline: ``(points, 3)`` image coordinates times depth.
            plane: ``(3,)``; times ``(column, row, 1)`` it is the inverse depth.
            index: The cuboid's index.
            colour: ``(3,)`` BGR.
            counts: Whether this is a whole face, which adds to the cuboid's area and bounds.
        """
        points = self._clip(outline)
        if len(points) < 3:
            return
        if counts:
            low, high = points.min(0), points.max(0)
            bounds = self.boxes.get(index, np.array([*low, *high]))
            self.boxes[index] = np.array(
                [*np.minimum(bounds[:2], low), *np.maximum(bounds[2:], high)]
            )
            area = cv2.contourArea(points.astype(np.float32)) * OVERSAMPLING**2
            self.areas[index] = self.areas.get(index, 0) + area
        fine = points * OVERSAMPLING - 0.5  # OpenCV's integers are the middles of pixels
        rows, columns = self.owner.shape
        left, top = np.floor(fine.min(0)).astype(int).clip(0)
        right, bottom = np.ceil(fine.max(0)).astype(int) + 1
        part = np.s_[top : min(bottom, rows), left : min(right, columns)]
        mask = np.zeros(self.owner[part].shape, np.uint8)
        if not mask.size:
            return
        cv2.fillConvexPoly(mask, _fixed(fine - [left, top]), (1,), shift=4)
        x = (np.arange(left, left + mask.shape[1]) + 0.5) / OVERSAMPLING
        y = (np.arange(top, top + mask.shape[0]) + 0.5) / OVERSAMPLING
        inverse = (plane[0] * x + (plane[1] * y + plane[2])[:, None]).astype(np.float32)
        seen = (mask > 0) & (inverse >= self.inverse_depth[part])
        self.inverse_depth[part][seen] = inverse[seen]
        self.owner[part][seen] = index
        self.colour[part][seen] = colour

    def fill_shadow(self, shadow: np.ndarray, outline: np.ndarray) -> None:
        """Marks a polygon on the ground in ``(H, W)`` uint8."""
        points = self._clip(outline)
        if len(points) >= 3:
            cv2.fillConvexPoly(shadow, _fixed(points - 0.5), (255,), cv2.LINE_AA, shift=4)


def ground_texture(rng: np.random.Generator) -> np.ndarray:
    """Paints a road with lanes between two strips of land: ``(512, 1024, 3)`` float, BGR.

    A texel is :data:`CELL` wide; rows run along the road and repeat without a seam.
    """
    rows, columns = 512, 1024
    across = (np.arange(columns) - columns / 2) * CELL
    half, walk = rng.uniform(7, 10), rng.uniform(2, 4)
    asphalt = np.full(3, rng.uniform(85, 120)) + rng.uniform(-6, 6, 3)
    pavement = np.full(3, rng.uniform(135, 165)) + rng.uniform(-8, 8, 3)
    land = np.array([80, 120, 110]) + rng.uniform(-20, 20, 3)
    beside = np.abs(across)[None, :, None]
    base = np.where(beside < half, asphalt, np.where(beside < half + walk, pavement, land))
    ground = np.repeat(base, rows, axis=0)
    for line in (-half + 0.4, half - 0.4):
        ground[:, np.abs(across - line) < 0.1] = 205
    dashes = np.arange(rows) % 64 < 32  # 3.2 m of every 6.4
    for lane in (-half / 2, 0, half / 2):
        ground[np.ix_(dashes, np.abs(across - lane) < 0.1)] = 205
    grain = sum(_periodic_noise(rows, columns, cell, rng) for cell in (2, 8, 64))
    rough = np.where(np.abs(across) < half + walk, 5.0, 11.0)
    return ground + (grain * rough)[..., None]


def _periodic_noise(rows: int, columns: int, cell: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((rows // cell, columns // cell)).astype(np.float32)
    x, y = np.meshgrid(np.arange(columns) / cell, np.arange(rows) / cell)
    x, y = x.astype(np.float32), y.astype(np.float32)
    return cv2.remap(noise, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)


def _rectangle(sides: np.ndarray, part: tuple[float, float, float, float]) -> np.ndarray:
    """Gives the ``(4, 3)`` corners of a part of a face: a corner and two sides, ``(3, 3)``."""
    left, low, right, high = part
    weights = [[1, left, low], [1, right, low], [1, right, high], [1, left, high]]
    return np.array(weights) @ sides


def _project(projection: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Gives ``(points, 3)``: column, row and 1, times depth."""
    return points @ projection[:, :3].T + projection[:, 3]


def _fixed(points: np.ndarray) -> np.ndarray:
    """Gives points as OpenCV's integers, sixteenths of a pixel (``shift=4``)."""
    return np.round(points * 16).astype(np.int32)


def _plane(outline: np.ndarray) -> np.ndarray:
    """Finds ``(3,)`` that times ``(column, row, 1)`` is the inverse depth on a face."""
    (ax, ay, az), (bx, by, bz) = outline[1] - outline[0], outline[2] - outline[0]
    normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])  # np.cross is slow
    return normal / (normal @ outline[0])


def _cut(outline: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Keeps the part of a polygon where a linear function, given at its points, is positive."""
    kept = []
    for i in range(len(outline)):
        if inside[i - 1] * inside[i] < 0:
            share = inside[i - 1] / (inside[i - 1] - inside[i])
            kept.append(outline[i - 1] + share * (outline[i] - outline[i - 1]))
        if inside[i] >= 0:
            kept.append(outline[i])
    return np.array(kept).reshape(-1, 3)
