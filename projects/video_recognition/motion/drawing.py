"""Draws clips whose class is the motion of an object, never its appearance.

Every motion is cyclic and starts at a random phase: an object that moves reappears on the other
side, one that grows becomes small again after its largest size, and the two colours of a pair of
events alternate with a pause. For the other classes these properties are constant, at a random
phase of the same cycle. So single frames have the same distribution for all classes; only their
order differs.
"""

import cv2
import numpy as np

CLASSES = (
    'moves left',
    'moves right',
    'moves up',
    'moves down',
    'turns left',
    'turns right',
    'grows',
    'shrinks',
    'red, then blue',
    'blue, then red',
)
# An arrow head with a short tail: no two of its directions look alike.
SHAPE = np.array([[1, 0], [-0.2, -0.9], [-0.2, -0.35], [-0.9, -0.35], [-0.9, 0.35], [-0.2, 0.35]])
SHAPE = np.concatenate([SHAPE, [[-0.2, 0.9]]])
COLOURS = np.array([[128, 128, 128], [230, 40, 40], [40, 40, 230]], np.float64)
RADII = 0.14, 0.34  # of the frame's side, smallest and largest
SUBPIXELS = 4  # bits of a coordinate


def draw_clip(
    key: tuple[int, ...], label: int, frames: int, size: int, amount: float = 0.6
) -> np.ndarray:
    """Draws a clip.

    Args:
        key: What the random numbers follow from.
        label: Of the class.
        frames: Of the clip.
        size: Side of a frame in pixels.
        amount: How much of its circle a thing goes through, for movement and turns; growth and
            colours go through all of it.

    Returns:
        ``(frames, size, size, 3)`` uint8, RGB.
    """
    random = np.random.default_rng(key)
    time = np.arange(frames) / frames
    x, y, angle, growth, colour = (random.random() + 0 * time for _ in range(5))
    speed = amount * random.uniform(0.7, 1.3)
    circle, sign = label // 2, 1 if label % 2 else -1
    if circle == 0:
        x = x + sign * speed * time
    elif circle == 1:
        y = y + sign * speed * time
    elif circle == 2:
        angle = angle + sign * speed * time
    elif circle == 3:
        growth = growth - sign * time  # it grows, then it shrinks
    else:
        colour = colour - sign * time
    ground = _ground(random, size)
    clip = np.empty((frames, size, size, 3), np.uint8)
    for i in range(frames):
        radius = size * RADII[0] * (RADII[1] / RADII[0]) ** (growth[i] % 1)
        turn = 2 * np.pi * angle[i]
        matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        outline = radius * SHAPE @ matrix
        centre = np.array([x[i] % 1, y[i] % 1]) * size
        frame = ground.copy()
        for shift_y in (-size, 0, size):
            for shift_x in (-size, 0, size):
                points = outline + np.add(centre, (shift_x, shift_y))
                if (points.max(0) < 0).any() or (points.min(0) > size).any():
                    continue
                cv2.fillPoly(
                    frame,
                    [np.round(points * 2**SUBPIXELS).astype(np.int32)],
                    COLOURS[int(np.floor(colour[i] * 3)) % 3].tolist(),
                    lineType=cv2.LINE_AA,
                    shift=SUBPIXELS,
                )
        clip[i] = frame
    return clip


def _ground(random: np.random.Generator, size: int) -> np.ndarray:
    """A soft pattern of dim greens, which says nothing."""
    cells = random.uniform(0, 60, (4, 4, 3)) * (0.3, 1, 0.3)
    return cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype('u1')
