"""Generated motions: the classes' motions, and that no single frame shows the class."""

import numpy as np
import pytest

from projects.video_recognition.motion import MotionClips
from projects.video_recognition.motion.drawing import CLASSES, draw_clip
from sparse_mm.errors import BadInputError


def thing(frame):
    """Pixels that are not ground, by their colour."""
    return (frame[..., 0] > 90) | (frame[..., 2] > 90)


def shift(clip, axis):
    """How far the object of a clip moves along an axis between frames, on its circle."""
    size = clip.shape[1]
    weights = np.stack([thing(frame).sum(1 - axis) for frame in clip])  # (T, size)
    circle = np.exp(2j * np.pi * np.arange(size) / size)
    angles = np.angle(weights @ circle)
    return np.angle(np.exp(1j * np.diff(angles))) * size / (2 * np.pi)


def clips(label, count=12, frames=16, size=48):
    return [draw_clip((0, i), label, frames, size) for i in range(count)]


@pytest.mark.parametrize(
    ('name', 'axis', 'sign'), [('left', 1, -1), ('right', 1, 1), ('up', 0, -1), ('down', 0, 1)]
)
def test_it_moves_to_the_named_side(name, axis, sign):
    label = CLASSES.index(f'moves {name}')
    for clip in clips(label):
        along, across = np.median(shift(clip, axis)), np.median(shift(clip, 1 - axis))
        assert 1 < sign * along < 3
        assert abs(across) < 0.2


def test_it_grows_and_shrinks():
    for label, sign in ((6, 1), (7, -1)):
        for clip in clips(label):
            areas = np.array([thing(frame).sum() for frame in clip])
            changes = np.sign(np.diff(areas)) * sign
            assert (changes > 0).sum() >= 12  # all but the one time around


def test_colours_take_turns():
    for label, order in ((8, 'rb'), (9, 'br')):
        for clip in clips(label):
            seen = ''
            for frame in clip.astype(int):
                red, _, blue = frame[thing(frame)].mean(0)
                name = '.' if abs(red - blue) < 50 else 'r' if red > blue else 'b'
                seen += name if not seen.endswith(name) else ''
            cycle = order[0] + order[1] + '.'
            assert seen in 3 * cycle


def test_no_single_frame_shows_the_class():
    """Colours and areas agree within what chance allows, at the first frame as at others."""
    count = 100
    pairs = [
        np.stack([draw_clip((label, i), label, 16, 24)[[0, 7]] for i in range(count)])
        for label in (0, 3, 4, 6, 7, 8, 9)
    ]
    for place in (0, 1):
        pictures = [pair[:, place].astype(float) for pair in pairs]  # (count, 24, 24, 3) each
        levels = np.stack([p.mean((1, 2)) for p in pictures])
        areas = np.array([[[thing(p).sum()] for p in ps] for ps in pictures])
        for values in levels, areas:  # (classes, count, what)
            chance = values.std((0, 1)) / count**0.5
            assert (np.abs(values.mean(1) - values.mean((0, 1))) < 5 * chance).all()


def test_the_data_set():
    found = MotionClips(num_clips=25, frames=5, size=20, seed=3)
    again = MotionClips(num_clips=25, frames=5, size=20, seed=3)
    other = MotionClips(num_clips=25, frames=5, size=20, seed=4)
    assert found[7]['clips'].shape == (1, 5, 20, 20, 3)
    assert np.array_equal(found[7]['clips'], again[7]['clips'])
    assert not np.array_equal(found[7]['clips'], other[7]['clips'])
    assert [found[i]['gt_label'] for i in (0, 9, 10, 24)] == [0, 9, 0, 4]
    with pytest.raises(BadInputError, match='must be at least 1'):
        MotionClips(num_clips=0)
