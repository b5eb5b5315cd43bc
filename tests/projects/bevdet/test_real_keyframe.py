"""BEVDet on the real keyframe: a step of training, a test of all six cameras, boxes drawn."""

import pickle

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import ROOT

pytest.importorskip('mmdet3d', reason='needs mmdet3d')

CONFIG = ROOT / 'projects/bevdet/configs/bevdet_swint_256x704.py'
# The full model on small images; the devkit's tables, which the metric needs, are not there.
SETTINGS = """
_base_ = {base!r}
size = (96, 264)
train_pipeline = _base_.train_pipeline
train_pipeline[2].size = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].size = size
loader = dict(num_workers=0, persistent_workers=False, batch_size=1)
demo = dict(ann_file='nuscenes_infos_demo.pkl')
# mmdet3d's class balancing divides by zero where a frame lacks a class.
plain = _base_.train_dataloader.dataset.dataset
plain.update(pipeline=train_pipeline, **demo)
train_dataloader = dict(dataset=dict(_delete_=True, **plain), **loader)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **demo), **loader)
val_dataloader = None
val_evaluator = None
val_cfg = None
test_evaluator = dict(
    ann_file=_base_.data_root + '/nuscenes_infos_demo.pkl', format_only=True,
    jsonfile_prefix='found')
model = dict(backbone=dict(init_cfg=None, convert_weights=False, pruning_ratios=0.5))
train_cfg = dict(max_epochs=1)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(save_optimizer=False),
    visualization=dict(score_thr=0.0))
"""


@pytest.mark.slow
def test_trains_and_tests(call_tool, shared, tmp_path, monkeypatch):
    monkeypatch.setenv('NUSCENES_ROOT', str(shared('data/nuscenes')))
    config = tmp_path / 'small.py'
    config.write_text(SETTINGS.format(base=str(CONFIG)))
    trained = call_tool('train.py', config, '--work-dir', 'run')
    assert 'task5.loss_heatmap' in trained
    assert 'loss: nan' not in trained
    call_tool(
        *('test.py', config, 'run/epoch_1.pth', '--work-dir', 'run'),
        *('--out', 'found.pkl', '--show-dir', 'drawn'),
    )
    (found,) = pickle.loads((tmp_path / 'found.pkl').read_bytes())
    assert found['pred_instances_3d']['bboxes_3d'].tensor.shape[-1] == 9
    (picture,) = (tmp_path / 'run').glob('*/drawn/*.jpg')
    # Six cameras in two rows, and the plan of the ground.
    image = cv2.imread(str(picture))
    assert image.shape == (2 * 96, 3 * 264 + 2 * 96, 3)
    checkpoint = torch.load(tmp_path / 'run/epoch_1.pth')
    assert 'ema_state_dict' in checkpoint


@pytest.mark.parametrize('broken', ['camera', 'matrix'])
def test_broken_frames_are_refused(refusal, shared, tmp_path, broken):
    root = tmp_path / 'nuscenes'
    root.mkdir()
    (root / 'samples').symlink_to(shared('data/nuscenes') / 'samples')
    content = pickle.loads((shared('data/nuscenes') / 'nuscenes_infos_demo.pkl').read_bytes())
    content['data_list'] *= 2
    text = pickle.dumps(content)
    content = pickle.loads(text)
    frame = pickle.loads(pickle.dumps(content['data_list'][1]))
    content['data_list'][1] = frame
    if broken == 'camera':
        del frame['images']['CAM_BACK']
    else:
        frame['images']['CAM_BACK']['cam2img'] = np.zeros((3, 3)).tolist()
    (root / 'nuscenes_infos_demo.pkl').write_bytes(pickle.dumps(content))
    config = tmp_path / 'small.py'
    config.write_text(SETTINGS.format(base=str(CONFIG)))
    message = refusal(
        *('train.py', config, '--work-dir', tmp_path / 'run'), env={'NUSCENES_ROOT': str(root)}
    )
    if broken == 'camera':
        assert 'lacks CAM_BACK in frame 1' in message
    else:
        assert 'cam2img of CAM_BACK' in message
        assert 'singular' in message
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_missing_data_are_named(refusal, tmp_path):
    message = refusal('train.py', CONFIG, env={'NUSCENES_ROOT': str(tmp_path / 'nowhere')})
    assert 'NUSCENES_ROOT' in message
    assert 'create_data.py' in message
