"""Draws scenes with a few small objects on large textured backgrounds.

A few small objects stand on large textured grounds.

Everything follows from integers: the same seed gives the same scene on every machine.
"""

from typing import NamedTuple

import cv2
import numpy as np

CLASSES = ('disk', 'box', 'triangle', 'star')
# Around which the colours of each class scatter widely: red, blue, green, yellow, as BGR.
COLOURS = np.array([[70, 60, 200], [210, 100, 60], [70, 190, 80], [50, 190, 215]])


class ShapeInstance(NamedTuple):
    """One object of a scene.

    Attributes:
        label: Index into :data:`CLASSES`.
        mask: ``(H, W)`` bool, the pixels where the object is visible.
    """

    label: int
    mask: np.ndarray


def outline(label: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the outline of a shape within the unit circle: ``(points, 2)`` float."""
    if label == 0:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        points = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.7, 1.0)], axis=1)
    elif label == 1:
        half_height = rng.uniform(0.5, 0.75)
        points = np.array([[-0.75, -1], [0.75, -1], [0.75, 1], [-0.75, 1]]) * [1, half_height]
    elif label == 2:
        angles = np.deg2rad([90, 210, 330]) + rng.uniform(-0.2, 0.2, 3)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    else:
        angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        radii = np.where(np.arange(10) % 2 == 0, 1.0, rng.uniform(0.38, 0.48))
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points @ rotation.T


def texture(size: int, cells: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Sums noise of several grains: ``(size, size)`` float32 of about unit spread."""
    total = np.zeros((size, size), np.float32)
    for count in cells:
        noise = rng.standard_normal((count, count)).astype(np.float32)
        total += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return total / len(cells) ** 0.5


def textured_ground(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws a ground of one colour with grain and tints: ``(size, size, 3)`` float."""
    ground = rng.uniform(60, 190, 3)
    grain = texture(size, (4, 16, 64, size // 2), rng)[..., None]
    tint = np.stack([texture(size, (3,), rng) for _ in range(3)], axis=2)
    return ground + 14 * grain + 14 * tint


def surface(label: int, inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gives each class a pattern of its own, at any angle.

    Args:
        label: Index into :data:`CLASSES`.
        inside: ``(size, size)`` bool, the pixels of the object.
        rng: Where the angle comes from.

    Returns:
        ``(pixels,)`` float, in the order of ``image[inside]``.
    """
    turn = rng.uniform(0, np.pi)
    rows, columns = np.nonzero(inside)
    across = columns * np.cos(turn) + rows * np.sin(turn)
    along = rows * np.cos(turn) - columns * np.sin(turn)
    if label == 0:
        return np.sin(across * 2 * np.pi / 10)  # stripes
    if label == 1:
        return np.sign(np.sin(across * 2 * np.pi / 12) * np.sin(along * 2 * np.pi / 12))  # checks
    if label == 2:
        return np.sin(across * 2 * np.pi / 5)  # fine stripes
    size = len(inside)
    return texture(size, (size // 4,), rng)[inside]  # grain


def object_colour(label: int, ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws a colour around the class's own that stands out from the ground: BGR."""
    for _ in range(20):
        colour = (COLOURS[label] + rng.uniform(-60, 60, 3)).clip(20, 235)
        if np.abs(colour - ground).max() > 60:
            break
    return colour


def draw_scene(
    seed: tuple[int, ...],
    size: int,
    num_objects: tuple[int, int] = (2, 6),
    radii: tuple[float, float] = (0.045, 0.14),
) -> tuple[np.ndarray, list[ShapeInstance]]:
    """Draws a scene.

    Args:
        seed: Any integers; they determine the scene.
        size: Side of the image in pixels.
        num_objects: The least and the most objects. Some hide parts of others.
        radii: The least and the largest radius of an object, of ``size``.

    Returns:
        The image, ``(size, size, 3)`` uint8 BGR, and its objects with their visible masks.
    """
    rng = np.random.default_rng(seed)
    image = textured_ground(size, rng)

    owner = np.zeros((size, size), np.int32)
    labels: list[int] = []
    areas: list[int] = []
    centre = rng.uniform(0.1, 0.9, 2) * size
    for number in range(1, rng.integers(num_objects[0], num_objects[1] + 1) + 1):
        label = int(rng.integers(len(CLASSES)))
        radius = size * np.exp(rng.uniform(*np.log(radii)))
        # A third of the objects overlap the one before.
        if number > 1 and rng.random() < 0.35:
            centre = centre + rng.uniform(-1.2, 1.2, 2) * radius
        else:
            centre = rng.uniform(0, 1, 2) * size
        centre = centre.clip(radius, size - radius)
        points = outline(label, rng) * radius + centre
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], (1,), shift=4)
        inside = mask.astype(bool)
        colour = object_colour(label, image[inside].mean(axis=0), rng)
        image[inside] = colour + 22 * surface(label, inside, rng)[:, None]
        owner[inside] = number
        labels.append(label)
        areas.append(int(inside.sum()))

    instances = []
    for number, (label, area) in enumerate(zip(labels, areas, strict=True), start=1):
        visible = owner == number
        if visible.sum() >= max(0.3 * area, 40):  # a sliver is no object to find
            instances.append(ShapeInstance(label, visible))
    return image.clip(0, 255).astype(np.uint8), instances
