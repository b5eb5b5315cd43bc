"""tools/analysis_tools/focus_share.py and what it measures."""

import json

import pytest
import torch
from mmengine.registry import DATASETS

from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseFormer
from tests.conftest import ROOT
from tools.benchmarks.sampling_points import sampling_points_of, share_on_objects

TOOL = 'analysis_tools/focus_share.py'
CONFIG = ROOT / 'configs' / 'sparseformer_small_objects.py'


def test_the_share_of_points_on_objects():
    masks = torch.zeros(2, 4, 8, dtype=torch.bool)
    masks[0, 0, 4:] = True  # the right half of the first row
    points = torch.tensor([[0.5, 0.0], [0.99, 0.24], [0.49, 0.1], [0.6, 0.26], [1.0, 0.1]])
    outside = torch.tensor([[-0.01, 0.1], [0.7, -0.2], [7.0, 0.1]])
    both = torch.cat([points, outside]).view(1, 2, 4, 2).repeat(2, 1, 1, 1)
    assert share_on_objects(both, masks).tolist() == [2 / 8, 0]


def test_sampling_is_recorded_and_left_as_it_is():
    arch = dict(num_tokens=4, dims=(8, 16), depth=2, drop_path_rate=0.0)
    model = SparseFormer(arch, num_heads=2, num_points=5, feature_channels=8).eval()
    for _ in range(2):  # a second time nothing is counted twice
        found = sampling_points_of(model, torch.randn(3, 3, 32, 32))
        assert [tuple(rois.shape) for rois, _ in found] == [(3, 4, 4)] * 5
        assert [tuple(points.shape) for _, points in found] == [(3, 4, 5, 2)] * 5
    with pytest.raises(BadInputError, match='Linear has no RoIs'):
        sampling_points_of(torch.nn.Linear(2, 2), torch.zeros(1, 2))


def test_small_objects_are_small_and_masked():
    settings = dict(type='ShapePictures', num_images=40, size=128, radii=(0.06, 0.1), pipeline=[])
    dataset = DATASETS.build(settings)
    infos = [dataset.get_data_info(i) for i in range(40)]
    areas = torch.tensor([info['mask'].mean() for info in infos])
    assert infos[0]['mask'].shape == (128, 128)
    assert 0.001 < areas.min() < areas.mean() < 0.02
    assert {info['gt_label'] for info in infos} == {0, 1, 2, 3}
    for radii in (0.05, 0.1), (0.2, 0.1), (0.1, 0.6):
        with pytest.raises(BadInputError, match=r'radii must rise from 0\.051'):
            DATASETS.build(dict(settings, radii=radii))


def test_the_tool(call_tool, refusal):
    small = [
        *('model.backbone.arch.dims=(16,192)', 'test_dataloader.dataset.num_images=6'),
        'test_dataloader.dataset.size=112',
    ]
    out = call_tool(TOOL, CONFIG, '--json', '--images', 5, '--cfg-options', *small)
    found = json.loads(out)
    assert found['pictures'] == 5
    assert len(found['shares']) == len(found['sides']) == 5
    assert all(0 <= share <= 1 for share in found['shares'])
    assert found['sides'] == pytest.approx([0.5] * 5)  # untrained, RoIs stay
    printed = call_tool(TOOL, CONFIG, '--cfg-options', *small)
    assert '6 pictures, accuracy' in printed
    assert '| 5 |' in printed
    assert 'at least 1' in refusal(TOOL, CONFIG, '--images', -1, '--cfg-options', *small)
