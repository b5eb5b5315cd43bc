"""Which frames are sampled for clips."""

import numpy as np
import pytest

from projects.video_recognition.video_recognition.sampling import Sampling
from sparse_mm.errors import BadInputError

TIMES = np.arange(100) / 25


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


def test_windows_reach_from_the_first_frame_to_the_last():
    sampling = Sampling(clip_len=8, frame_interval=4)
    chosen = np.concatenate([sampling.choose(TIMES, random=True) for _ in range(2000)])
    assert (np.diff(chosen) == 4).all()
    assert chosen[:, 0].min() == 0
    assert chosen[:, -1].max() == 99
    assert len(np.unique(chosen[:, 0])) == 100 - 28


@pytest.mark.parametrize('unit', ['frame', 'second'])
@pytest.mark.parametrize('mode', ['dense', 'uniform'])
def test_views_differ_and_cover_the_video(unit, mode):
    interval = 2 if unit == 'frame' else 0.08
    sampling = Sampling(8, interval, unit, num_clips=4, mode=mode)
    chosen = sampling.choose(TIMES, random=False)
    assert chosen.shape == (4, 8)
    assert len(np.unique(chosen, axis=0)) == 4
    assert np.array_equal(chosen, sampling.choose(TIMES, random=False))
    if mode == 'dense':
        assert chosen.min() == 0
        assert chosen.max() == 99
    else:
        assert (np.diff(chosen) >= 12).all()


def test_one_view_is_the_middle():
    chosen = Sampling(4, 2).choose(TIMES, random=False)
    assert chosen.tolist() == [[46, 48, 50, 52]]


def test_seconds_are_the_same_at_any_rate():
    for rate in (24, 29.97, 50):
        times = np.arange(int(4 * rate)) / rate
        chosen = Sampling(8, 0.25, 'second').choose(times, random=False)
        np.testing.assert_allclose(np.diff(times[chosen[0]]), 0.25, atol=1 / rate)


@pytest.mark.parametrize('unit', ['frame', 'second'])
def test_short_videos_loop_or_stay(unit):
    times = np.arange(5) / 25
    interval = 2 if unit == 'frame' else 2 / 25
    chosen = Sampling(6, interval, unit, short='loop').choose(times, random=False)
    assert chosen.tolist() == [[0, 2, 4, 1, 3, 0]]
    chosen = Sampling(6, interval, unit, short='repeat_last').choose(times, random=False)
    assert chosen.tolist() == [[0, 2, 4, 4, 4, 4]]
    views = Sampling(6, interval, unit, num_clips=4).choose(times, random=False)
    assert len(np.unique(views, axis=0)) == 4
    one = Sampling(6, interval, unit).choose(times[:1], random=True)
    assert one.tolist() == [[0] * 6]


def test_a_window_as_long_as_the_video():
    assert Sampling(5, 2).choose(np.arange(9) / 25, random=True).tolist() == [[0, 2, 4, 6, 8]]


def test_uniform_parts():
    sampling = Sampling(4, mode='uniform')
    assert sampling.choose(TIMES, random=False).tolist() == [[12, 37, 62, 87]]
    chosen = np.concatenate([sampling.choose(TIMES, random=True) for _ in range(500)])
    assert (chosen // 25 == np.arange(4)).all()
    assert chosen.min() == 0
    assert chosen.max() == 99
    assert sampling.choose(TIMES[:2], random=False).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(clip_len=0), 'clip_len must be a whole number of at least 1'),
        (dict(clip_len=8, frame_interval=0), 'frame_interval must be a whole number of frames'),
        (dict(clip_len=8, frame_interval=1.5), 'a whole number of frames above 0, not 1.5'),
        (dict(clip_len=8, frame_interval=-1, unit='second'), 'must be seconds above 0'),
        (dict(clip_len=8, num_clips=0), 'num_clips must be'),
        (dict(clip_len=8, mode='sparse'), 'mode must be one of dense, uniform'),
        (dict(clip_len=8, short='pad'), 'short must be one of loop, repeat_last'),
        (dict(clip_len=8, unit='hour'), 'unit must be one of frame, second'),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(BadInputError, match=message):
        Sampling(**settings)
