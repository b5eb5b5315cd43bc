"""Generated configs with what real trainings have: averaging, accumulation, clipping, processes."""

import json
import re

import pytest
import torch

from sparse_mm.checkpoints import read_checkpoint
from tests.conftest import require_configs_of
from tests.faults.runs import TRAIN, Run
from tests.hosts.bases import BASES, write_data

RTMDET = """
_base_ = 'mmdet::rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py'
root = 'data/'
classes = dict(classes=('disk', 'box', 'triangle', 'star'))
size = (64, 96)
scale = dict(type='Resize', scale=(96, 64), keep_ratio=True)
pad = dict(type='Pad', size=(96, 64), pad_val=dict(img=(114, 114, 114)))
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
first = [*load, scale, pad, dict(type='PackDetInputs')]
second = [*load, scale, dict(type='RandomFlip', prob=0.5), pad, dict(type='PackDetInputs')]
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
test = [*load, scale, pad, dict(type='PackDetInputs', meta_keys=keys)]
own = dict(data_root=root, ann_file='truth.json', data_prefix=dict(img='images/'), metainfo=classes)
norm = dict(num_groups=4)
model = dict(
    backbone=dict(
        embed_dims=4, num_heads=[1, 2, 4, 8], depths=[2, 2, 2, 2], window_size=4, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32], out_channels=32, num_csp_blocks=1, norm_cfg=norm),
    bbox_head=dict(num_classes=4, in_channels=32, feat_channels=32, norm_cfg=norm),
    test_cfg=dict(nms_pre=20, max_per_img=5))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(pipeline=first, filter_cfg=None, **own))
val_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(pipeline=test, **own))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=root + 'truth.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=4, val_interval=4, dynamic_intervals=None)
ema, switch = _base_.custom_hooks
ema.update(momentum=0.5)
switch.update(switch_epoch=2, switch_pipeline=second)
custom_hooks = [ema, switch]
optim_wrapper = dict(accumulative_counts=2, clip_grad=dict(max_norm=5.0))
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""
SMALL = dict(evaluations=3, population=3, parents=1, num_images=2, finalists=1)


def options(search):
    return [f'custom_hooks.{search}.{name}={value}' for name, value in SMALL.items()]


def winner(folder):
    best = json.loads((folder / 'run' / 'sparsity_search' / 'best.json').read_text())
    assert max(max(stage) for stage in best['pruning_ratios']) > 0
    return best


@pytest.mark.slow
@pytest.mark.parametrize('ranks', [1, 2])
def test_averaging_a_change_of_the_pipeline_and_accumulation(ranks, tmp_path, call_tool, forks):
    """RTMDet's own hooks together with ours, in one process and in two."""
    require_configs_of('mmdet')
    (tmp_path / 'base.py').write_text(RTMDET)
    write_data(tmp_path, 'mmdet')
    call_tool('make_sparse.py', 'base.py', '--out', 'sparse.py', '--budget', 'macs=0.9')
    gloo = 'env_cfg.dist_cfg.backend=gloo'
    command = TRAIN, 'sparse.py', '--work-dir', 'run', '--cfg-options', gloo, *options(3)
    said = Run(forks, tmp_path, *command, ranks=ranks).finish()
    assert 'Switch pipeline now!' in said
    assert 'is finetuned from here on' in said
    assert 'loss: nan' not in said
    assert len(re.findall(r'Epoch\(train\)', said)) >= 4
    winner(tmp_path)
    last = read_checkpoint(str(tmp_path / 'run' / 'epoch_4.pth'))
    averaged, trained = last['state_dict'], last['ema_state_dict']  # swapped as they are saved
    names = {name.removeprefix('module.') for name in trained} - {'steps'}
    assert names <= averaged.keys()
    weight = 'backbone.stages.2.blocks.0.attn.w_msa.qkv.weight'
    assert not torch.equal(averaged[weight], trained[f'module.{weight}'])
    ratios = averaged['backbone.saved_ratios']
    assert torch.equal(ratios, trained['module.backbone.saved_ratios'])
    assert ratios[:, 0].any()


@pytest.mark.slow
@pytest.mark.parametrize('host', ['mmseg', 'mmpretrain', 'mmdet3d'])
def test_two_processes(host, tmp_path, call_tool, forks):
    """Generated configs of the other hosts: adapted, searched and finetuned by two processes."""
    require_configs_of(host)
    base, hooks_before = BASES[host]
    (tmp_path / 'base.py').write_text(base)
    write_data(tmp_path, host)
    call_tool('make_sparse.py', 'base.py', '--out', 'sparse.py', '--budget', 'macs=0.9')
    more = ['env_cfg.dist_cfg.backend=gloo', *options(hooks_before + 1)]
    if host == 'mmseg':  # SyncBN of several processes needs GPUs
        heads = 'decode_head', 'auxiliary_head'
        more += [f'model.{head}.norm_cfg.type=BN' for head in heads]
    if host == 'mmdet3d':  # whose metric needs the whole set
        more = [option for option in more if 'num_images' not in option]
    command = TRAIN, 'sparse.py', '--work-dir', 'run', '--cfg-options', *more
    said = Run(forks, tmp_path, *command, ranks=2).finish()
    assert 'is finetuned from here on' in said
    assert 'loss: nan' not in said
    winner(tmp_path)


def losses(said):
    return [float(found) for found in re.findall(r'\bloss: (\S+)', said)]


@pytest.mark.slow
@pytest.mark.parametrize(
    'host',
    [
        host if host == 'mmpretrain' else pytest.param(host, marks=pytest.mark.campaign)
        for host in BASES
    ],
)
def test_compiled_steps_adapt_and_finetune(host, tmp_path, call_tool, forks):
    """MMEngine's ``compile`` gives the losses of the same run without it."""
    require_configs_of(host)
    base, hooks_before = BASES[host]
    (tmp_path / 'base.py').write_text(base)
    write_data(tmp_path, host)
    call_tool('make_sparse.py', 'base.py', '--out', 'sparse.py', '--budget', 'macs=0.9')
    more = [*options(hooks_before + 1), 'default_hooks.logger.interval=1']
    if host == 'mmdet3d':  # whose metric needs the whole set
        more = [option for option in more if 'num_images' not in option]
    # All of compiling but its C++, which takes minutes.
    compiled = 'compile.backend=aot_eager'
    said = []
    for name, cfg_options in dict(plain=more, compiled=[*more, compiled]).items():
        command = TRAIN, 'sparse.py', '--work-dir', name, '--cfg-options', *cfg_options
        run = Run(forks, tmp_path, *command)
        run.wait(400)
        said.append(run.finish())
    assert all('is finetuned from here on' in each for each in said)
    assert 'While SparsityAdaptationHook changes the ratios' in said[1]
    plain, other = map(losses, said)
    assert len(plain) >= 4
    assert other == pytest.approx(plain, rel=0.01, abs=2e-3)
