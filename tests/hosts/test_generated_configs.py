"""A generated config of each host, unedited: adapts, searches, finetunes by the command line."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from sparse_mm.datasets.shapes import write_shapes
from tests.conftest import ROOT, require_configs_of

MMDET = """
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
root = 'data/'
classes = dict(classes=('disk', 'box', 'triangle', 'star'))
scale = dict(type='Resize', scale=(96, 64), keep_ratio=True)
load = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
train = [*load, scale, dict(type='PackDetInputs')]
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
test = [*load, scale, dict(type='PackDetInputs', meta_keys=keys)]
own = dict(data_root=root, ann_file='truth.json', data_prefix=dict(img='images/'), metainfo=classes)
model = dict(
    backbone=dict(embed_dims=6, init_cfg=None), neck=dict(in_channels=[6, 12, 24, 48]),
    roi_head=dict(bbox_head=dict(num_classes=4), mask_head=dict(num_classes=4)))
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(pipeline=train, indices=4, **own))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=test, indices=4, **own))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=root + 'truth.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=3)
custom_hooks = [dict(type='EMAHook')]
"""

MMSEG = """
_base_ = 'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
scale = dict(type='Resize', scale=(96, 64), keep_ratio=True)
load = [dict(type='LoadImageFromFile'), scale, dict(type='LoadAnnotations')]
test = [*load, dict(type='PackSegInputs')]
own = dict(
    _delete_=True, type='BaseSegDataset', data_root='pictures', pipeline=test,
    metainfo=dict(classes=('ground', 'thing'), palette=[[0, 0, 0], [255, 0, 0]]),
    data_prefix=dict(img_path='images', seg_map_path='labels'))
model = dict(
    data_preprocessor=dict(size=(64, 96)), backbone=dict(embed_dims=6, init_cfg=None),
    decode_head=dict(in_channels=[6, 12, 24, 48], channels=8, num_classes=2),
    auxiliary_head=dict(in_channels=24, channels=8, num_classes=2))
train_dataloader = dict(batch_size=2, num_workers=0, dataset=own)
val_dataloader = dict(num_workers=0, dataset=own)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=2)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0), accumulative_counts=2)
"""

MMPRETRAIN = """
_base_ = 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(224, 224)), dict(type='PackInputs')]
own = dict(_delete_=True, type='CustomDataset', data_root='classes', pipeline=pipeline)
arch = dict(embed_dims=6, depths=[2, 2, 2, 2], num_heads=[3, 6, 12, 24])
data_preprocessor = dict(num_classes=2)
model = dict(
    backbone=dict(_delete_=True, type='SwinTransformer', arch=arch, img_size=224),
    head=dict(num_classes=2, in_channels=48), train_cfg=None)
train_dataloader = dict(batch_size=2, num_workers=0, dataset=own)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=own)
test_dataloader = val_dataloader
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
val_evaluator = dict(topk=1)
train_cfg = dict(max_epochs=3)
"""

CASES = {'mmdet': (MMDET, 1), 'mmseg': (MMSEG, 0), 'mmpretrain': (MMPRETRAIN, 0)}


def write_data(folder, host):
    rng = np.random.default_rng(0)
    if host == 'mmdet':
        write_shapes(folder / 'data' / 'truth.json', folder / 'data' / 'images', 4, 96, seed=0)
        return
    for i in range(4):
        picture = rng.integers(0, 255, (64, 96, 3), np.uint8)
        if host == 'mmpretrain':
            path = folder / 'classes' / 'ab'[i % 2] / f'{i}.png'
        else:
            path = folder / 'pictures' / 'images' / f'{i}.jpg'
            label = folder / 'pictures' / 'labels' / f'{i}.png'
            label.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(label), rng.integers(0, 2, (64, 96), np.uint8))
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)


@pytest.mark.slow
@pytest.mark.parametrize('host', CASES)
def test_the_generated_config_runs_as_it_is(host, tmp_path, run_tool):
    require_configs_of(host)
    base, hooks_before = CASES[host]
    (tmp_path / 'base.py').write_text(base)
    write_data(tmp_path, host)
    run_tool('make_sparse.py', 'base.py', '--out', 'sparse.py', '--budget', 'macs=0.9')
    search = f'custom_hooks.{hooks_before + 1}.'
    small = dict(evaluations=3, population=3, parents=1, num_images=2, finalists=1)
    log = run_tool(
        *('train.py', 'sparse.py', '--work-dir', 'run', '--cfg-options'),
        *(f'{search}{name}={value}' for name, value in small.items()),
    )
    assert 'is finetuned from here on' in log.stdout
    best = json.loads((tmp_path / 'run' / 'sparsity_search' / 'best.json').read_text())
    assert max(max(stage) for stage in best['pruning_ratios']) > 0


@pytest.mark.slow
@pytest.mark.parametrize('host', CASES)
def test_no_parameter_is_unused(host, tmp_path, run_tool):
    """DDP without find_unused_parameters would end at one, whatever the ratios."""
    require_configs_of(host)
    (tmp_path / 'base.py').write_text(CASES[host][0])
    write_data(tmp_path, host)
    run_tool('make_sparse.py', 'base.py', '--out', 'sparse.py', '--budget', 'macs=0.9')
    assert unused_parameters(tmp_path, host) == []


def unused_parameters(folder, host):
    """Trains a step at mixed ratios; gives the parameters without a gradient."""
    code = f"""
import os
os.chdir({str(folder)!r})
from mmengine.registry import DATASETS
from mmengine.dataset import pseudo_collate, default_collate
from mmengine.optim import OptimWrapper
from torch.optim import SGD
from sparse_mm.engine.config_file import read_config
from sparse_mm.engine.inspection import build_model, find_backbone
cfg = read_config('sparse.py')
model = build_model(cfg).train()
find_backbone(model).set_pruning_ratios([0.5, 0.3, 0.2, 0.0])
data = DATASETS.build(cfg.train_dataloader.dataset)
collate = default_collate if {host!r} == 'mmpretrain' else pseudo_collate
batch = model.data_preprocessor(collate([data[0], data[1]]), True)
loss, _ = model.parse_losses(model._run_forward(batch, mode='loss'))
loss.backward()
names = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
print('UNUSED', names)
"""
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return eval(done.stdout.rpartition('UNUSED')[2])
