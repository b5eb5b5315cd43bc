"""The 3D example: drawn scenes, training, search, and nuScenes' official evaluation."""

import json
import re

import pytest

from tests.conftest import ROOT

pytest.importorskip('mmdet3d', reason='needs mmdet3d')

CONFIG = ROOT / 'projects/bevdet/configs/bevdet_driving.py'
SETTINGS = """
_base_ = {base!r}
few = dict(num_train_scenes=2, num_val_scenes=1, frames=2, image_size=(112, 64))
size = (56, 112)
train_pipeline = _base_.train_pipeline
train_pipeline[2].size = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].size = size
train_dataloader = dict(num_workers=0, batch_size=2, dataset=dict(pipeline=train_pipeline, **few))
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline, **few))
test_dataloader = val_dataloader
max_epochs = 2
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
default_hooks = dict(logger=dict(interval=1))
"""
NDS = 'NuScenes metric/pred_instances_3d_NuScenes/NDS'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'small.py'
    path.write_text(SETTINGS.format(base=str(CONFIG)))
    return path


@pytest.mark.slow
def test_trains_resumes_tests_and_is_searched(call_tool, config, tmp_path):
    options = '--work-dir', 'run', '--cfg-options'
    log = call_tool('train.py', config, *options, 'train_cfg.max_epochs=1')
    assert 'task0.loss_heatmap' in log
    log = call_tool('train.py', config, '--resume', *options, 'train_cfg.max_epochs=2')
    assert set(re.findall(r'Epoch\(train\) +\[(\d)\]', log)) == {'2'}

    log = call_tool('test.py', config, 'run/epoch_2.pth', '--work-dir', 'run')
    assert NDS in log
    assert 'NuScenes metric/pred_instances_3d_NuScenes/mAP' in log

    call_tool(
        *('search.py', config, 'run/epoch_2.pth', '--work-dir', 'search', '--budget', 'macs=0.9'),
        *('--metric', NDS, '--evaluations', 2),
    )
    best = json.loads((tmp_path / 'search/sparsity_search/best.json').read_text())
    assert [len(stage) for stage in best['pruning_ratios']] == [1, 1, 3]  # pairs of blocks
