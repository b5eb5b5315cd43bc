"""Draws scenes that need resolution: small objects on a textured background.

Most windows contain no object. The classes differ in a pattern of a few pixels and hardly in their
outline; colours are random. The background has stones and lines of all colours, which have outlines
but no pattern.

Everything follows from integers: the same seed gives the same scene on every machine.
"""

import cv2
import numpy as np

from sparse_mm.datasets.shape_scenes import CLASSES, ShapeInstance, outline, texture

PERIODS = 7.0, 7.0, 3.5  # of stripes, checks and fine stripes, in pixels
STONES_PER_PIXEL = 150 / 896**2
LINES_PER_PIXEL = 60 / 896**2
GAP = 4  # pixels between objects


def draw_small_objects(
    seed: tuple[int, ...],
    size: int,
    num_objects: tuple[int, int] = (3, 8),
    diameters: tuple[float, float] = (12, 48),
) -> tuple[np.ndarray, list[ShapeInstance]]:
    """Draws a scene.

    Args:
        seed: Any integers; they determine the scene.
        size: Side of the image in pixels.
        num_objects: The least and the most objects. None hides another; where there is no room,
            there are fewer.
        diameters: The least and the largest, in pixels.

    Returns:
        The image, ``(size, size, 3)`` uint8 BGR, and its objects with their masks.
    """
    rng = np.random.default_rng(seed)
    image = _ground(size, rng)
    instances: list[ShapeInstance] = []
    taken: list[tuple[float, float, float]] = []
    for _ in range(rng.integers(num_objects[0], num_objects[1] + 1)):
        label = int(rng.integers(len(CLASSES)))
        radius = float(np.exp(rng.uniform(*np.log(diameters)))) / 2
        place = _place(radius, size, taken, rng)
        if place is None:
            continue
        taken.append((*place, radius))
        mask = _fill(outline(label, rng) * radius + np.array(place), size)
        colour = rng.uniform(50, 205, 3)
        image[mask] = colour + 34 * _pattern(label, mask, rng)[:, None]
        instances.append(ShapeInstance(label, mask))
    return image.clip(0, 255).astype(np.uint8), instances


def _ground(size: int, rng: np.random.Generator) -> np.ndarray:
    """``(size, size, 3)`` float: coarse and fine noise, stones and lines."""
    cells = tuple(max(2, size // grain) for grain in (2, 4, 12, 48, 160))
    image = rng.uniform(60, 190, 3) + 26 * texture(size, cells, rng)[..., None]
    image = image + 14 * np.stack([texture(size, (4,), rng) for _ in range(3)], axis=2)
    image = np.ascontiguousarray(image, np.float32)
    for _ in range(int(STONES_PER_PIXEL * size**2)):
        radius = np.exp(rng.uniform(*np.log((4, 26))))
        points = outline(int(rng.integers(len(CLASSES))), rng) * radius
        colour = rng.uniform(30, 225, 3).tolist()
        cv2.fillPoly(image, [_fixed(points + rng.uniform(0, size, 2))], colour, shift=4)
    for _ in range(int(LINES_PER_PIXEL * size**2)):
        start = rng.uniform(0, size, 2)
        end = start + rng.uniform(-60, 60, 2)
        colour = rng.uniform(30, 225, 3).tolist()
        first, last = (tuple(int(v) for v in point) for point in (start, end))
        cv2.line(image, first, last, colour, int(rng.integers(1, 4)))
    return image


def _place(
    radius: float,
    size: int,
    taken: list[tuple[float, float, float]],
    rng: np.random.Generator,
) -> tuple[float, float] | None:
    """A centre inside the image and apart from all others; None where none was found."""
    for _ in range(30):
        x, y = rng.uniform(radius + 1, size - radius - 1, 2).tolist()
        if all(np.hypot(x - a, y - b) > radius + other + GAP for a, b, other in taken):
            return x, y
    return None


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * 16).astype(np.int32)


def _fill(points: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [_fixed(points)], (1,), shift=4)
    return mask.astype(bool)


def _pattern(label: int, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The class's own, at any angle: ``(pixels,)`` float, in the order of ``image[mask]``."""
    turn, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    rows, columns = np.nonzero(mask)
    if label == 3:
        return rng.choice([-1.0, 1.0], len(rows))  # grain
    wave = 2 * np.pi / PERIODS[label]
    across = np.sin((columns * np.cos(turn) + rows * np.sin(turn)) * wave + phase)
    if label != 1:
        return across  # stripes, fine stripes
    along = np.sin((rows * np.cos(turn) - columns * np.sin(turn)) * wave + phase)
    return np.sign(across * along)  # checks
