"""Clips of how many layers computed each window: read, drawn and written frame by frame."""

import tracemalloc
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.projects.video_recognition.videos import write_sound, write_video
from tests.tools.sparse_models import CONFIGS, write_model
from tools.analysis_tools.clip_files import ClipWriter, FolderFrames, open_clip

av = pytest.importorskip('av', reason='needs av, to read and write clips')
TOOL = 'analysis_tools/visualize_sparsity.py'


@pytest.fixture
def files(tmp_path):
    def write(scope):
        pytest.importorskip(scope, reason=f'needs {scope}')
        return write_model(tmp_path, scope)[1:]

    return write


def frames_of(path):
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)], rate


def write_frames(folder: Path, count: int = 11) -> Path:
    folder.mkdir()
    for number in range(count):
        picture = np.full((48, 64, 3), 16 + 20 * number, np.uint8)
        cv2.imwrite(str(folder / f'frame_{number}.png'), picture)
    return folder


@pytest.mark.parametrize('scope', CONFIGS)
def test_a_clip_becomes_a_clip_of_as_many_frames(files, call_tool, tmp_path, scope):
    config, weights = files(scope)
    write_video(tmp_path / 'clip.mp4', frames=5, rate=10)
    log = call_tool(TOOL, 'clip.mp4', config, weights, '--ratios', '[0.6, 0.5]')
    assert 'written: sparsity.mp4 (5 frames; on average ' in log and ' of the 4 layers' in log
    frames, rate = frames_of(tmp_path / 'sparsity.mp4')
    assert len(frames) == 5 and rate == 10
    assert frames[0].shape[1] > 2 * frames[0].shape[0]  # two panels
    assert not list(tmp_path.glob('*.part*'))


def test_some_frames_beside_the_dense_model(files, call_tool, tmp_path):
    config, weights = files('mmpretrain')
    write_video(tmp_path / 'clip.mkv', frames=7, rate=12)
    options = '--every', 3, '--half-size', '--out', 'out/three.mkv'
    call_tool(TOOL, 'clip.mkv', config, weights, *options)
    frames, rate = frames_of(tmp_path / 'out' / 'three.mkv')
    assert len(frames) == 3 and rate == 4
    assert frames[0].shape[1] > 3 * frames[0].shape[0]


def test_a_folder_of_frames_becomes_an_animated_picture(files, call_tool, tmp_path):
    config, weights = files('mmpretrain')
    write_frames(tmp_path / 'frames')
    call_tool(TOOL, 'frames', config, weights, '--out', 'moving.gif', '--fps', 5)
    frames, rate = frames_of(tmp_path / 'moving.gif')
    assert len(frames) == 11 and rate == 5
    # On the right, without a prediction: brighter from frame to frame, 10 after 9.
    bright = [frame[:, frame.shape[1] * 2 // 3 : -40].mean() for frame in frames]
    assert bright == sorted(bright)


def test_frames_are_read_one_at_a_time(tmp_path):
    clip = write_video(tmp_path / 'clip.mp4', frames=120, size=(240, 320))
    tracemalloc.start()
    frames, _ = open_clip(str(clip), [], step=1, rate=1)
    with ClipWriter(tmp_path / 'copy.avi', Fraction(24)) as writer:
        for frame in frames:
            writer.add(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(frames) == len(frames_of(tmp_path / 'copy.avi')[0]) == 120
    assert peak < 12 * 240 * 320 * 3  # a tenth of the frames


def test_a_clip_that_fails_leaves_no_half_of_it(tmp_path):
    frames = FolderFrames(sorted(write_frames(tmp_path / 'frames').iterdir()))
    with pytest.raises(ValueError), ClipWriter(tmp_path / 'clip.mp4', Fraction(5)) as writer:
        for frame in frames:
            writer.add(frame)
        raise ValueError
    assert not list(tmp_path.glob('clip*'))


def test_refusals_before_the_model_is_built(files, refusal, tmp_path, monkeypatch):
    config, weights = files('mmpretrain')
    whole = write_video(tmp_path / 'clip.mp4').read_bytes()
    write_sound(tmp_path / 'sound.mp4')
    cut = write_video(tmp_path / 'cut.mkv').read_bytes()
    (tmp_path / 'cut.mkv').write_bytes(cut[: len(cut) // 2])
    (tmp_path / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'empty.mp4').write_bytes(b'')
    (tmp_path / 'text.avi').write_text('no clip')
    mixed = write_frames(tmp_path / 'mixed', 2)
    cv2.imwrite(str(mixed / 'frame_2.png'), np.zeros((10, 10, 3), np.uint8))
    spoiled = write_frames(tmp_path / 'spoiled', 2)
    (spoiled / 'frame_1.png').write_text('no picture')
    (tmp_path / 'folder.mp4').mkdir()
    former = tmp_path / 'former.py'
    former.write_text("model = dict(type='X', backbone=dict(type='VideoSparseFormer'))")
    monkeypatch.setattr('sparse_mm.engine.inspection.build_model', None)
    for arguments, said in (
        (('no.mp4', config, weights), "'no.mp4' cannot be read (No such file"),
        (('empty.mp4', config, weights), "'empty.mp4' cannot be read"),
        (('text.avi', config, weights), "'text.avi' cannot be read"),
        (('cut.mp4', config, weights), "'cut.mp4'"),
        (('cut.mkv', config, weights), "'cut.mkv' is damaged (it ends after"),
        (('sound.mp4', config, weights), 'has no pictures, only sound'),
        (('clip.mp4', config, weights, '--out', 'x.png'), '--out must name a clip (.mp4'),
        (('clip.mp4', config, weights, '--out', 'clip.mp4'), '--out is the clip itself'),
        (('clip.mp4', config, weights, '--out', 'folder.mp4'), 'is a folder; name a file'),
        (('clip.mp4', config, weights, '--every', 0), '--every and --fps must be at least 1'),
        (('mixed', config, weights, '--out', 'x.mp4'), "frame_2.png' has 10x10 pixels"),
        (('spoiled', config, weights, '--out', 'x.mp4'), "frame_1.png' does not exist or is not"),
        (('clip.mp4', 'former.py', weights), 'VideoSparseFormer has no windows to colour'),
    ):
        assert said in refusal(TOOL, *arguments), arguments
