"""Frames of video files: the right ones, upright, and messages for damaged files."""

import random
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip('av', reason='PyAV is not installed: requirements/video.txt')

from projects.video_recognition.video_recognition.decoding import (
    BrokenVideoError,
    DecodeClips,
    Video,
    read_frames,
)
from projects.video_recognition.video_recognition.sampling import Sampling
from tests.projects.video_recognition.videos import numbers, write_sound, write_video


def decode(path, wanted):
    return read_frames(str(path), lambda times: np.array(wanted))


@pytest.mark.parametrize(
    ('name', 'codec'), [('a.mp4', 'libx264'), ('a.avi', 'mpeg4'), ('a.webm', 'libvpx-vp9')]
)
def test_wanted_frames_in_any_order(tmp_path, name, codec):
    path = write_video(tmp_path / name, codec=codec)
    wanted = [[0, 47, 5], [5, 20, 13]]  # with frames that depend on later ones
    frames = decode(path, wanted)
    assert frames.shape == (2, 3, 48, 64, 3)
    assert numbers(frames) == wanted


def test_odd_rates_and_times_of_their_own(tmp_path):
    path = write_video(tmp_path / 'odd.mp4', rate=Fraction(30000, 1001))
    times = Video(str(path)).times
    np.testing.assert_allclose(times, np.arange(48) * 1001 / 30000, atol=1e-3)
    shown = [0, 40, 80, *range(200, 200 + 45 * 10, 10)]  # milliseconds
    path = write_video(tmp_path / 'free.mkv', times=shown, codec='libx264')
    np.testing.assert_allclose(Video(str(path)).times * 1000, shown, atol=1.1)
    clips = DecodeClips(clip_len=5, frame_interval=0.1, unit='second')
    results = clips(dict(video_path=str(path)))
    start = (0.64 - 0.4) / 2
    nearest = [np.abs(np.array(shown) - 1000 * (start + 0.1 * k)).argmin() for k in range(5)]
    assert numbers(results['clips']) == [nearest]


def test_only_wanted_frames_are_converted_by_one_thread(tmp_path, monkeypatch):
    path = write_video(tmp_path / 'a.mp4')
    converted = []
    picture = Video._picture
    monkeypatch.setattr(
        Video, '_picture', lambda self, frame: converted.append(1) or picture(self, frame)
    )
    decode(path, [3, 3, 40])
    assert len(converted) == 2
    assert Video(str(path)).stream.codec_context.thread_count == 1


def test_pixels_are_square_and_frames_upright(tmp_path):
    path = write_video(tmp_path / 'wide.mp4', aspect=Fraction(3, 2))
    assert decode(path, [0]).shape == (1, 48, 96, 3)
    for degrees, shape in ((90, (64, 48)), (-90, (64, 48)), (180, (48, 64))):
        path = write_video(tmp_path / f'{degrees}.mp4', rotation=degrees)
        (frame,) = decode(path, [0])
        assert frame.shape[:2] == shape
        (stored,) = decode(write_video(tmp_path / 'plain.mp4'), [0])
        turned = np.rot90(stored, degrees // 90)
        assert np.abs(frame.astype(int) - turned).mean() < 3


@pytest.mark.parametrize(
    ('name', 'codec', 'options'),
    [
        ('a.mp4', 'libx264', {'movflags': 'faststart'}),
        ('a.mp4', 'mpeg4', {}),
        ('a.avi', 'mpeg4', {}),
        ('a.mkv', 'libx264', {}),
    ],
    ids=str,
)
@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.8])
def test_truncated_files_are_named(tmp_path, name, codec, options, share):
    whole = write_video(tmp_path / name, codec=codec, options=options, frames=96).read_bytes()
    cut = tmp_path / f'cut_{name}'
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BrokenVideoError, match=f'cut_{name}'):
        decode(cut, list(range(0, 96, 8)))


@pytest.mark.parametrize('seed', range(4))
def test_noisy_files_are_named(tmp_path, seed):
    path = write_video(tmp_path / 'noisy.mp4', codec='libx264')
    content, draw = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(len(content) // 20):
        content[draw.randrange(len(content) // 4, len(content) * 3 // 4)] = draw.randrange(256)
    path.write_bytes(content)
    with pytest.raises(BrokenVideoError, match=r'noisy.mp4.*(damaged|cannot be read|no pictures)'):
        decode(path, list(range(48)))


def test_what_is_no_video_is_named(tmp_path):
    with pytest.raises(BrokenVideoError, match='has no pictures, only sound'):
        Video(str(write_sound(tmp_path / 'sound.mp4')))
    with pytest.raises(BrokenVideoError, match=r'absent.mp4. cannot be read \(No such file'):
        Video(str(tmp_path / 'absent.mp4'))
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(BrokenVideoError, match=r'text.mp4. cannot be read \(Invalid data'):
        Video(str(tmp_path / 'text.mp4'))
    with pytest.raises(BrokenVideoError, match='cannot be read'):
        Video(str(tmp_path))


def test_frames_fewer_than_packets_are_chosen_anew(tmp_path, monkeypatch):
    """As of interlaced files, two of whose packets are one frame."""
    path = write_video(tmp_path / 'a.mp4')
    read = Video._read

    def read_twice_as_many(self):
        read(self)
        self.times = np.repeat(self.times, 2)

    monkeypatch.setattr(Video, '_read', read_twice_as_many)
    frames = read_frames(str(path), lambda times: np.array([0, len(times) - 1]))
    assert numbers(frames) == [0, 47]


def test_the_authors_kind_of_clips(shared):
    for path in sorted(shared('data/kinetics400').glob('*.mp4')):
        clips = DecodeClips(num_clips=4, clip_len=8, frame_interval=4)(dict(video_path=str(path)))
        assert clips['clips'].shape[:3] == (4, 8, 256)
        # One of them has pixels that are not square.
        assert clips['clips'].shape[3] == (427 if path.stem == 'arm_wrestling' else 340)
    assert isinstance(DecodeClips(clip_len=4).sampling, Sampling)
