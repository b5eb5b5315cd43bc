"""The command lines on models of clips."""

import json

import cv2
import numpy as np
import pytest
import torch

from sparse_mm.engine.config_file import read_config
from sparse_mm.engine.inspection import build_model
from tests.conftest import ROOT
from tests.projects.video_recognition.conftest import CONFIGS, MOTION
from tests.projects.video_recognition.videos import write_video


def test_the_papers_costs(call_tool):
    config = CONFIGS / 'video_sparseformer_tiny_kinetics400.py'
    out = call_tool('analysis_tools/get_flops.py', config, '--backbone', '--json')
    result = json.loads(out.splitlines()[-1])
    assert result['shape'] == [32, 224, 224]  # of the test pipeline
    assert result['macs'] / 1e9 == pytest.approx(23.07, abs=0.005)
    assert (result['params'] + 400 * 513) / 1e6 == pytest.approx(31.33, abs=0.005)


def test_whole_models_and_other_lengths(call_tool, reduced, refusal):
    tool = 'analysis_tools/get_flops.py'
    options = reduced, '--shape', 16, 16
    macs = [
        json.loads(call_tool(tool, *options, '--json', *more).splitlines()[-1])['macs']
        for more in ((), ('--frames', 16))
    ]
    assert macs[1] > 1.3 * macs[0]
    assert 'G per clip' in call_tool(tool, *options)
    assert 'must be at least 1' in refusal(tool, *options, '--frames', 0)
    image = ROOT / 'configs' / 'sparseformer_tiny_imagenet.py'
    assert 'is no model of clips' in refusal(tool, image, '--frames', 4, '--backbone')


def test_tokens_are_drawn_over_time(call_tool, refusal, reduced, tmp_path):
    pytest.importorskip('av', reason='PyAV is not installed: requirements/video.txt')
    model = build_model(read_config(str(reduced)))
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    write_video(tmp_path / 'clip.mp4', frames=12)
    tool = 'analysis_tools/visualize_rois.py'
    for clip, out in (('clip.mp4', 'file.png'), ('3', 'sample.png')):
        log = call_tool(tool, clip, reduced, 'weights.pth', '--out', out, '--tokens', 0, 15)
        assert f'{out} (2 of 2 iterations, 2 tokens)' in log
        picture = cv2.imread(str(tmp_path / out))
        coloured = np.ptp(picture, axis=2) > 150
        frames = np.array_split(coloured[: len(coloured) // 2], 8, axis=1)
        seen = [part.mean() > 0.001 for part in frames]
        if out == 'file.png':  # of grey frames: the first copy samples two, the last two others
            assert seen == [True, True, False, False, False, False, True, True]
    assert 'no number 10' in refusal(tool, '10', reduced, 'weights.pth')
    assert 'cannot be read' in refusal(tool, 'gone.mp4', reduced, 'weights.pth')


def test_data_are_checked_in_one_go(call_tool, refusal, tmp_path, monkeypatch):
    pytest.importorskip('av', reason='PyAV is not installed: requirements/video.txt')
    config = CONFIGS / 'video_sparseformer_tiny_kinetics400.py'
    monkeypatch.setenv('KINETICS_ROOT', str(tmp_path / 'absent'))
    message = refusal_of(refusal, config)
    assert 'KineticsDataset (train and val and test) is missing' in message
    root = tmp_path / 'kinetics'
    for split in ('train', 'val'):
        for name in 'ab':
            write_video(root / split / name / f'{name}.mp4', frames=8)
    (root / 'label_map_k400.txt').write_text('a\nb\n')
    monkeypatch.setenv('KINETICS_ROOT', str(root))
    options = [
        option
        for split in ('train', 'val', 'test')
        for option in [f'{split}_dataloader.dataset.num_classes=2']
    ]
    out = call_tool('check_data.py', config, '--cfg-options', *options)
    assert 'train: ' in out
    assert '2 videos found, 0 missing, 2 classes' in out
    assert '0 broken of 2 videos that were opened' in out
    (root / 'val' / 'a' / 'a.mp4').write_bytes(b'')
    message = refusal_of(refusal, config, '--cfg-options', *options)
    assert 'a.mp4' in message
    assert 'has 2 classes, but num_classes is 400' in refusal_of(refusal, config)
    motion = call_tool('check_data.py', MOTION)
    assert 'train: 6000 samples' in motion


def refusal_of(refusal, *arguments):
    return refusal('check_data.py', *arguments)


def test_a_checkpoint_of_other_constants_is_reported_before_the_test(call_tool, reduced, tmp_path):
    """As the converter makes it from a checkpoint of the authors' library."""
    model = build_model(read_config(str(reduced)))
    meta = dict(type='VideoSparseFormer', arch='tiny', replicates=4, constants='library')
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'theirs.pth')
    test = 'test.py', reduced, 'theirs.pth', '--work-dir', 'run'
    log = call_tool(*test)
    sentence = "gives its outputs with constants='library', and this VideoSparseFormer has"
    assert log.count(sentence) == 1
    assert log.index(sentence) < log.index('Epoch(test)')
    options = 'model.backbone.constants=library', 'experiment_name=same'
    same = call_tool(*test, '--cfg-options', *options)
    assert 'accuracy/top1' in same
    assert sentence not in same
