"""The README's recipe, as it is printed: adapts, searches and finetunes a host's own config."""

import json
import re
from importlib import import_module

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from sparse_mm.datasets.shapes import write_shapes
from sparse_mm.engine.config_file import read_config
from tests.conftest import ROOT, require_configs_of

# Settings that make it small, in a file that inherits the recipe.
SMALL = """
_base_ = './recipe.py'
scale = dict(type='Resize', scale=(192, 128), keep_ratio=True)
load = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
train = [*load, scale, dict(type='PackDetInputs')]
test = [*load, scale, dict(type='PackDetInputs', meta_keys=keys)]
proposals = dict(nms_pre=20, max_per_img=20)
model = dict(
    backbone=dict(embed_dims=6),
    neck=dict(in_channels=[6, 12, 24, 48], out_channels=8),
    rpn_head=dict(in_channels=8, feat_channels=8),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=8),
        bbox_head=dict(in_channels=8, fc_out_channels=16),
        mask_roi_extractor=dict(out_channels=8),
        mask_head=dict(num_convs=1, in_channels=8, conv_out_channels=8)),
    train_cfg=dict(rpn_proposal=proposals, rcnn=dict(sampler=dict(num=16))),
    test_cfg=dict(rpn=proposals, rcnn=dict(max_per_img=5)))
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=train))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=4, val_interval=4)
"""


def write_coco(folder, classes):
    """Generated scenes in COCO's folders, whose shapes are the first four of COCO's classes."""
    for split in ('train2017', 'val2017'):
        path = folder / 'annotations' / f'instances_{split}.json'
        write_shapes(path, folder / split, 2, 128, seed=0)
        truth = json.loads(path.read_text())
        first = min(category['id'] for category in truth['categories'])
        truth['categories'] = [dict(id=first + i, name=name) for i, name in enumerate(classes)]
        path.write_text(json.dumps(truth))


@pytest.mark.slow
def test_the_readmes_recipe_runs_as_it_is_printed(tmp_path, call_tool):
    require_configs_of('mmdet')
    text = (ROOT / 'README.md').read_text()
    section = text[text.index('## Search the ratios') :]
    (tmp_path / 'recipe.py').write_text(re.search(r'```python\n(.*?)```', section, re.S)[1])
    (tmp_path / 'small.py').write_text(SMALL)
    classes = import_module('mmdet.datasets').CocoDataset.METAINFO['classes']
    write_coco(tmp_path / 'data' / 'coco', classes)
    cfg = read_config(str(tmp_path / 'small.py'))
    init_default_scope('mmdet')
    dense = {**cfg.model, 'backbone': {**cfg.model.backbone, 'type': 'mmdet.SwinTransformer'}}
    torch.save(dict(state_dict=MODELS.build(dense).state_dict()), tmp_path / 'dense.pth')
    # MACs replace latencies, which a busy machine could not measure.
    small = dict(evaluations=3, population=3, parents=1, num_images=2, finalists=1)
    small.update({'budget.unit': 'macs', 'budget.max': '0.8'})
    log = call_tool(
        *('train.py', 'small.py', '--work-dir', 'run', '--cfg-options'),
        *(f'custom_hooks.1.{name}={value}' for name, value in small.items()),
    )
    assert 'loss: nan' not in log
    assert 'is finetuned from here on' in log
    best = json.loads((tmp_path / 'run' / 'sparsity_search' / 'best.json').read_text())
    assert max(max(stage) for stage in best['pruning_ratios']) > 0
    last = torch.load(tmp_path / 'run' / 'epoch_4.pth', weights_only=True)
    assert last['state_dict']['backbone.saved_ratios'][:, 0].any()
    assert last['optimizer']['param_groups'][0]['initial_lr'] == 1e-5
