"""One stage pruned at a time: the scores are those of the model with these ratios."""

import json

import cv2
import pytest
import torch

from tests.engine.search.toy import ToyPictures, write_toy

TOOL = 'analysis_tools/sensitivity.py'


@pytest.fixture
def files(tmp_path):
    model = write_toy(tmp_path)
    return model, ('toy.py', 'weights.pth', '--work-dir', 'run')


@torch.no_grad()
def likelihood(model, ratios):
    model.inner['body'].set_pruning_ratios(ratios)
    data = ToyPictures(10, 1)
    samples = [data[i] for i in range(10)]
    logits = model(torch.stack([s['inputs'] for s in samples]),
                   torch.tensor([s['label'] for s in samples]), 'predict')  # fmt: skip
    return sum(float(one['logit'].log_softmax(0)[one['label']]) for one in logits) / 10


def test_each_stage_is_pruned_alone(files, call_tool, tmp_path):
    model, arguments = files
    log = call_tool(TOOL, *arguments, '--ratios', 0.75, 0.5, '--num-images', 10)
    folder = tmp_path / 'run' / 'sensitivity'
    found = json.loads((folder / 'sensitivity.json').read_text())
    assert (found['metric'], found['num_images']) == ('toy/likelihood', 10)
    assert found['dense'] == pytest.approx(likelihood(model, 0), abs=1e-5)
    assert [[point['ratio'] for point in points] for points in found['stages']] == [[0.5, 0.75]] * 2
    for stage, points in enumerate(found['stages']):
        for point in points:
            ratios = [[0.0], [0.0]]
            ratios[stage] = [point['ratio']]
            assert point['score'] == pytest.approx(likelihood(model, ratios), abs=1e-5)
            assert point['score'] != found['dense']
        assert 1 > points[0]['macs'] > points[1]['macs'] > 0
    assert 'System environment' not in log and 'Hooks will' not in log
    assert '| stage | 0.5 | 0.75 |' in log and f'dense {found["dense"]:.4f}' in log
    assert cv2.imread(str(folder / 'sensitivity.png')) is not None


def test_refusals(files, refusal, tmp_path):
    _, arguments = files
    for more, said in (
        (('--metric', 'toy/none'), "'toy/none'"),
        (('--ratios', 1.0), 'less than 1'),
        (('--num-images', 0), 'num_images must be at least 1'),
        (('--launcher', 'pytorch'), 'leave --launcher out'),
    ):
        assert said in refusal(TOOL, *arguments, *more)
    assert 'no.pth' in refusal(TOOL, 'toy.py', 'no.pth')
    assert 'no.py' in refusal(TOOL, 'no.py', 'weights.pth')
