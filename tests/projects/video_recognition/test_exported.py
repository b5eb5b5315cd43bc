"""Exported models of clips give the model's outputs; models of clips are timed."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from sparse_mm.engine.clips import read_views
from sparse_mm.engine.config_file import read_config
from sparse_mm.engine.inspection import build_model
from tests.conftest import ROOT
from tests.projects.video_recognition.videos import write_video

EXPORT, RUN = 'deployment/export.py', 'deployment/run_exported.py'
BENCHMARK = 'analysis_tools/benchmark.py'
FEW = ('--seconds', 0.1, '--matrix', 16, '--threads', 1, '--no-memory')
VIEWS = """
_base_ = {base!r}
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='DecodeClips', clip_len=8, frame_interval=2, num_clips=2),
            dict(type='ResizeClips', short_side=16),
            dict(type='CropClips', size=16, num_crops=3),
            dict(type='PackClips'),
        ]
    )
)
"""


@pytest.fixture
def trained(reduced, tmp_path):
    """A model whose sampling points move, its config and its checkpoint."""
    model = build_model(read_config(str(reduced)))
    model.init_weights()
    for name, parameter in model.named_parameters():
        if 'adjust' in name or 'offset.' in name or 'generate' in name or 'fc' in name:
            nn.init.normal_(parameter, std=0.1)
    meta = dict(dataset_meta=dict(classes=[f'motion {i}' for i in range(10)]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'weights.pth')
    return model, reduced, 'weights.pth'


def soft(batch, *size):
    return nn.functional.interpolate(torch.randn(batch, 3, 4, 4, 4), size, mode='trilinear')


def runner(path):
    """Runs an exported file, without this package's code."""
    if path.suffix == '.pt2':
        module = torch.export.load(path).module()
        return lambda clips: list(module(clips))
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda clips: [torch.tensor(y) for y in session.run(None, {'images': clips.numpy()})]


@pytest.mark.parametrize('kind', ['onnx', 'pt2'])
def test_the_backbone_takes_any_number_of_clips(trained, call_tool, tmp_path, kind):
    pytest.importorskip('onnxscript')
    model, config, weights = trained
    out = tmp_path / f'clips.{kind}'
    printed = call_tool(EXPORT, config, weights, '--out', out, '--free-batch')
    assert 'images     any x 3 x 8 x 16 x 16\n' in printed  # of the test's clips
    run = runner(out)
    for batch in (1, 3):
        clips = soft(batch, 8, 16, 16)
        with torch.no_grad():
            torch.testing.assert_close(run(clips)[0], model.backbone(clips)[0], rtol=0, atol=1e-4)


def test_other_lengths_and_sizes(trained, call_tool, tmp_path):
    onnx = pytest.importorskip('onnx')
    model, config, weights = trained
    size = '--frames', 5, '--shape', 21, 30
    options = '--cfg-options', 'model.backbone.out_type=tokens'
    call_tool(EXPORT, config, weights, '--out', 'clips.onnx', *size, '--batch', 2, *options)
    graph = onnx.load(tmp_path / 'clips.onnx')
    onnx.checker.check_model(graph, full_check=True)
    assert [output.name for output in graph.graph.output] == ['tokens', 'rois', 'features']
    model.backbone.out_type = 'tokens'
    clips = soft(2, 5, 21, 30)
    with torch.no_grad():
        for found, expected in zip(
            runner(tmp_path / 'clips.onnx')(clips), model.backbone(clips), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize('batch', [('--free-batch',), ('--batch', 4)])
def test_the_score_of_a_video_is_that_of_the_test(trained, call_tool, tmp_path, batch):
    """Of six views, whatever the file takes at once."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('av', reason='PyAV is not installed: requirements/video.txt')
    model, config, weights = trained
    views = tmp_path / 'views.py'
    views.write_text(VIEWS.format(base=str(config)))
    call_tool(EXPORT, views, weights, '--out', 'm.onnx', '--whole', *batch)
    described = json.loads((tmp_path / 'm.json').read_text())
    assert described['outputs'] == {'scores': [4 if '--batch' in batch else None, 10]}
    steps = described['preprocessing']
    assert (steps['layout'], steps['frames'], steps['size']) == ('NCTHW', 8, [16, 16])
    assert (steps['channels'], steps['mean']) == ('RGB', [60.0] * 3)
    video = write_video(tmp_path / 'clip.mp4', frames=40)
    lines = call_tool(RUN, 'm.onnx', video, '--config', views).splitlines()
    inputs = read_views(str(video), read_config(str(views)))
    assert len(inputs) == 6
    with torch.no_grad():
        data = model.data_preprocessor(dict(inputs=inputs[None]))
        scores = model(data['inputs'], mode='predict')[0].pred_score.numpy()
    order = np.argsort(-scores)[:5]
    assert lines[0] == str(video)
    for line, label in zip(lines[1:], order, strict=True):
        name, _, score = line.strip().rpartition(' ')
        assert name == f'motion {label}'
        assert float(score) == pytest.approx(scores[label], abs=1e-4)


def test_exported_clips_are_refused_in_one_sentence(trained, call_tool, refusal, tmp_path):
    _, config, weights = trained
    export = EXPORT, config, weights, '--out', 'm.pt2'
    assert 'smaller than the stride 4' in refusal(*export, '--shape', 3, 16)
    assert '--shape and --frames must be at least 1' in refusal(*export, '--frames', 0)
    image = ROOT / 'configs' / 'sparseformer_tiny_imagenet.py'
    message = refusal(EXPORT, image, '--out', 'm.pt2', '--frames', 4)
    assert 'SparseFormer is no model of clips' in message
    pytest.importorskip('onnxruntime')
    pytest.importorskip('av', reason='PyAV is not installed: requirements/video.txt')
    call_tool(EXPORT, config, weights, '--out', 'm.onnx', '--whole')
    (tmp_path / 'text.mp4').write_text('no video')
    assert 'give --config' in refusal(RUN, 'm.onnx', 'text.mp4')
    assert 'text.mp4' in refusal(RUN, 'm.onnx', 'text.mp4', '--config', config)
    longer = tmp_path / 'longer.py'
    longer.write_text(f'_base_ = {str(config)!r}\ntest_dataloader = dict(dataset=dict(frames=9))\n')
    write_video(tmp_path / 'clip.mp4', frames=10)
    message = refusal(RUN, 'm.onnx', 'clip.mp4', '--config', longer)
    assert 'gives clips of 9x16x16, and the exported model takes 8x16x16' in message


def test_clips_are_timed(reduced, call_tool, tmp_path):
    def found(*options):
        call_tool(BENCHMARK, '--run', 'clips', reduced, *options, *FEW, '--json', 'found.json')
        return json.loads((tmp_path / 'found.json').read_text())['runs'][0]

    own, longer, whole = found(), found('--frames', 16), found('--whole')
    assert own['image_size'] == [8, 16, 16]
    assert longer['image_size'] == [16, 16, 16]
    assert longer['gmacs'] > 1.3 * own['gmacs']
    assert 1 < whole['gmacs'] / own['gmacs'] < 1.1  # and the head
    step = found('--train', '--batch', 2)
    assert step['gmacs'] > 4 * own['gmacs']


def test_wrong_shapes_are_named_before_anything_is_timed(reduced, refusal):
    tool = BENCHMARK, '--run', 'clips', reduced
    assert 'smaller than the stride 4' in refusal(*tool, '--shape', 3, 16, *FEW)
    assert '--frames and --threads must be at least 1' in refusal(*tool, '--frames', 0, *FEW)
    assert "'clips' is a model of clips" in refusal(*tool, *FEW, '--engine', 'compile')
    image = ROOT / 'configs' / 'sparseformer_tiny_imagenet.py'
    message = refusal(BENCHMARK, '--run', 'image', image, '--frames', 4, *FEW)
    assert 'none of the runs is one' in message
    named = BENCHMARK, '--run', 'clips', 'VideoSparseFormer', '--shape', 32, 32, *FEW
    assert 'is a model of clips; give --frames N, too' in refusal(*named)
    flops = 'analysis_tools/get_flops.py', reduced, '--shape', 16, 3
    assert 'smaller than the stride 4' in refusal(*flops)
    assert 'smaller than the stride 4' in refusal(*flops, '--backbone')
    table = refusal('analysis_tools/latency_table.py', reduced, '--seconds', 1)
    assert 'SparseViT' in table
