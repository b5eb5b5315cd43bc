"""The real COCO config on real images, at reduced size: an epoch, --resume, a test."""

import re

import pytest
import torch

from tests.conftest import ROOT

REDUCED = """
_base_ = {base!r}
resize = dict(type='Resize', scale=(224, 160), keep_ratio=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (224, 224)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, indices=8), **loader)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, indices=4), **loader)
test_dataloader = val_dataloader
model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(type='OptimWrapper')
"""


@pytest.fixture
def config(tmp_path, shared):
    path = tmp_path / 'reduced.py'
    path.write_text(REDUCED.format(base=str(ROOT / 'configs' / 'sparsevit_maskrcnn_coco_34ms.py')))
    return path, {'COCO_ROOT': str(shared('data/coco'))}


@pytest.mark.slow
def test_an_epoch_then_resume_then_test(config, run_tool, tmp_path):
    path, env = config
    run = ['--work-dir', 'run']
    one, two = (['--cfg-options', f'train_cfg.max_epochs={n}'] for n in (1, 2))
    log = run_tool('train.py', path, *run, *one, env=env).stdout
    assert 'coco/bbox_mAP:' in log
    losses = [float(value) for value in re.findall(r' loss: ([\d.]+|nan)', log)]
    assert all(loss == loss for loss in losses)
    state = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=True)['state_dict']
    assert state['backbone.ratio_fractions'].tolist()[0] == [3, 5]

    log = run_tool('train.py', path, *run, '--resume', *two, env=env).stdout
    assert 'resumed epoch: 1' in log
    assert (tmp_path / 'run' / 'epoch_2.pth').is_file()

    log = run_tool('test.py', path, 'run/epoch_2.pth', *run, env=env).stdout
    assert 'coco/bbox_mAP:' in log
    assert 'coco/segm_mAP:' in log


@pytest.mark.slow
def test_incomplete_coco_is_found_before_training(config, run_tool, tmp_path):
    path, env = config
    real = env['COCO_ROOT']
    partial = tmp_path / 'coco'
    partial.mkdir()
    (partial / 'annotations').symlink_to(f'{real}/annotations')
    (partial / 'val2017').symlink_to(f'{real}/val2017')
    (partial / 'train2017').mkdir()
    result = run_tool(
        *('train.py', path, '--cfg-options', 'train_cfg.max_epochs=1'),
        fails=True,
        env={'COCO_ROOT': str(partial)},
    )
    assert 'Traceback' not in result.stderr
    message = result.stderr.strip().splitlines()[-1]
    assert re.search(r'The train set is incomplete: 8 of 8 files .*train2017.*\.jpg', message)
