"""Files of the layout of the authors' released checkpoints, through docs/authors_weights.md."""

import time
from importlib import import_module

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from sparse_mm.engine.config_file import read_config
from tests.conftest import ROOT, require_configs_of
from tests.hosts.test_recipe import SMALL, write_coco
from tests.models.backbones.reference import load_tame

DOCS = (ROOT / 'docs' / 'authors_weights.md').read_text()


def mmdet_2_checkpoint(model):
    """As written by mmdet 2.28, which the authors' code uses; without saved ratios."""
    state = {
        name: value for name, value in model.state_dict().items() if 'saved_ratios' not in name
    }
    meta = dict(
        env_info='sys.platform: linux',
        config="model = dict(type='MaskRCNN')",
        seed=0,
        exp_name='sparsevit_cfg2_35ms.py',
        mmcv_version='1.7.1',
        mmdet_version='2.28.2',
        CLASSES=('person', 'bicycle'),
        PALETTE=[(220, 20, 60), (119, 11, 32)],
        epoch=36,
        iter=263880,
        time=time.asctime(),
    )
    parameters = list(range(len(state)))
    optimizer = dict(state={}, param_groups=[dict(lr=1e-5, betas=(0.9, 0.999), params=parameters)])
    return dict(meta=meta, state_dict=state, optimizer=optimizer)


@pytest.mark.parametrize('setting', ['41ms', '34ms', '33ms'])
def test_a_released_sparse_vit_is_tested_with_its_configs_ratios(setting, call_tool, tmp_path):
    require_configs_of('mmdet')
    base = ROOT / 'configs' / f'sparsevit_maskrcnn_coco_{setting}.py'
    assert f'tools/test.py configs/{base.name} THEIRS' in DOCS
    (tmp_path / 'recipe.py').write_text(f'_base_ = {str(base)!r}\n')
    (tmp_path / 'small.py').write_text(SMALL)
    write_coco(
        tmp_path / 'data' / 'coco', import_module('mmdet.datasets').CocoDataset.METAINFO['classes']
    )
    cfg = read_config(str(tmp_path / 'small.py'))
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    torch.save(mmdet_2_checkpoint(model), tmp_path / 'theirs.pth')
    log = call_tool('test.py', 'small.py', 'theirs.pth', '--work-dir', 'out')
    assert 'coco/bbox_mAP' in log
    ratios = model.backbone.pruning_ratios
    assert ratios[0][0] == {'41ms': 0.3, '34ms': 0.6, '33ms': 0.7}[setting]
    assert 'unexpected' not in log and 'missing keys' not in log


def test_a_released_sparse_former_is_converted_and_tested(shared, call_tool, tmp_path, monkeypatch):
    pytest.importorskip('mmpretrain')
    weights = load_tame(shared, 'tame_sparseformer_t')[0]
    torch.save(dict(model=weights), tmp_path / 'sparseformer_t_imagenet1k.pth')
    call_tool('model_converters/sparseformer.py', 'sparseformer_t_imagenet1k.pth', 'tiny.pth')
    picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    for number in range(1000):
        folder = tmp_path / 'imagenet' / 'val' / f'n{number:08}'
        folder.mkdir(parents=True)
        if number < 2:
            cv2.imwrite(str(folder / '1.JPEG'), picture)
    monkeypatch.setenv('IMAGENET_ROOT', str(tmp_path / 'imagenet'))
    config = ROOT / 'configs' / 'sparseformer_tiny_imagenet.py'
    options = 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False'
    log = call_tool('test.py', config, 'tiny.pth', '--work-dir', 'out', '--cfg-options', *options)
    assert 'accuracy/top1' in log


def test_the_estimates_of_the_costs_follow_from_their_figures():
    detector = 47.8 / 4 / ((1 - 0.74) / (1 - 0.409))
    side = np.mean([(480 + 32 * i) ** 2 * 4 / 3 for i in range(11)]) / 672**2
    epoch = 117266 * detector * side * 3 / 3.6e6
    share = (1 - 0.74) / (1 - 0.409)
    adapted, found = 1 - share * (1 - 0.647), 1 - share * (1 - 0.72)
    for value in (
        f'{epoch:.1f} hours',
        f'{12 * epoch * adapted:.0f} GPU-hours',
        f'{1000 * 500 * detector * adapted / 3.6e6:.0f} GPU-hours',
        f'{36 * epoch * found:.0f} GPU-hours',
        f'{(3 * adapted + 9 * found) * epoch:.0f} GPU-hours',
    ):
        assert value in DOCS
