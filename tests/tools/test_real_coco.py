"""The real COCO config on real images, at reduced size: adapt, --resume, search, finetune, test."""

import json
import re

import pytest
import torch

from sparse_mm.checkpoints import read_checkpoint
from tests.conftest import ROOT

REDUCED = """
_base_ = {base!r}
resize = dict(type='Resize', scale=(160, 112), keep_ratio=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (112, 112)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, indices=2), **loader)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, indices=2), **loader)
test_dataloader = val_dataloader
# Four steps from scratch leave every score near 1 / 81, below the config's threshold of 0.05.
model = dict(
    backbone=dict(init_cfg=None),
    train_cfg=dict(rpn_proposal=dict(max_per_img=50), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(max_per_img=20), rcnn=dict(score_thr=1e-4)),
)
optim_wrapper = dict(type='OptimWrapper')
load_from = None
default_hooks = dict(checkpoint=dict(interval=2))  # each is half a gigabyte
custom_hooks = [
    dict(type='SparsityAdaptationHook', end=1),
    dict(type='SparsitySearchHook', at=1, budget='macs=0.9', metric='coco/bbox_mAP',
         evaluations=2, population=2, num_images=1, finalists=1, batch=1, latency_seconds=1),
]
"""


@pytest.fixture
def config(tmp_path, shared):
    path = tmp_path / 'reduced.py'
    path.write_text(REDUCED.format(base=str(ROOT / 'configs' / 'sparsevit_maskrcnn_coco.py')))
    return path, {'COCO_ROOT': str(shared('data/coco'))}


@pytest.mark.slow
def test_the_whole_method(config, run_tool, tmp_path):
    path, env = config
    run = ['--work-dir', 'run']
    two, three = (['--cfg-options', f'train_cfg.max_epochs={n}'] for n in (2, 3))
    log = run_tool('train.py', path, *run, *two, env=env).stdout
    assert 'coco/bbox_mAP:' in log
    losses = [float(value) for value in re.findall(r' loss: ([\d.]+|nan)', log)]
    assert all(loss == loss for loss in losses)
    tuned = read_checkpoint(str(tmp_path / 'run' / 'epoch_2.pth'))['state_dict']
    best = json.loads((tmp_path / 'run' / 'sparsity_search' / 'best.json').read_text())
    numerators, denominators = tuned['backbone.saved_ratios'].T
    found = [ratio for stage in best['pruning_ratios'] for ratio in stage for _ in range(2)]
    assert (numerators / denominators).tolist() == pytest.approx(found)
    assert best['macs'] <= 0.9
    assert best['measured_latency'] > 0

    log = run_tool('train.py', path, *run, '--resume', *three, env=env).stdout
    assert 'resumed epoch: 2' in log
    resumed = read_checkpoint(str(tmp_path / 'run' / 'epoch_3.pth'))['state_dict']
    assert torch.equal(resumed['backbone.saved_ratios'], tuned['backbone.saved_ratios'])

    log = run_tool('test.py', path, 'run/epoch_3.pth', *run, env=env).stdout
    assert 'coco/bbox_mAP:' in log
    assert 'coco/segm_mAP:' in log


@pytest.mark.slow
def test_incomplete_coco_is_found_before_training(config, refusal, tmp_path):
    path, env = config
    real = env['COCO_ROOT']
    partial = tmp_path / 'coco'
    partial.mkdir()
    (partial / 'annotations').symlink_to(f'{real}/annotations')
    (partial / 'val2017').symlink_to(f'{real}/val2017')
    (partial / 'train2017').mkdir()
    option = '--cfg-options', 'train_cfg.max_epochs=2'
    message = refusal('train.py', path, *option, env={'COCO_ROOT': str(partial)})
    assert re.search(r'The train set is incomplete: 2 of 2 files .*train2017.*\.jpg', message)
