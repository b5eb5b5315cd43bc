"""Every COCO config builds at its real size, with the settings that its name says."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, init_default_scope

from tests.conftest import ROOT

CONFIGS = sorted(path.name for path in (ROOT / 'configs').glob('sparsevit_maskrcnn_coco*.py'))
CONFIGS.remove('sparsevit_maskrcnn_coco_overfit.py')


def test_there_is_one_for_each_row_of_the_talk():
    rows = ('41ms', '34ms', '33ms', 'r576', 'r544', 'r512', 'w09', 'w08', 'w06')
    names = {f'sparsevit_maskrcnn_coco_{row}.py' for row in ('dense', *rows)}
    assert names | {'sparsevit_maskrcnn_coco.py'} == set(CONFIGS)


@pytest.mark.parametrize('name', CONFIGS)
def test_config(name):
    cfg = Config.fromfile(ROOT / 'configs' / name)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert type(model.backbone).__name__ == 'SparseViT'
    assert model.neck.in_channels == model.backbone.num_features
    method = name == 'sparsevit_maskrcnn_coco.py'
    assert cfg.train_cfg.max_epochs == (48 if method else 36)
    assert cfg.param_scheduler[1].milestones == ([39, 45] if method else [27, 33])
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'
    assert cfg.optim_wrapper.optimizer.lr == (1e-5 if method or 'ms' in name else 1e-4)
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys['norm'].decay_mult == 0
    suffix = Path(name).stem.rpartition('_')[2]
    size = {'r576': 576, 'r544': 544, 'r512': 512, 'w09': 640, 'w08': 640, 'w06': 640}
    for split in 'val', 'test':
        resize = cfg[f'{split}_dataloader'].dataset.pipeline[1]
        assert tuple(resize.scale) == (size.get(suffix, 672),) * 2
        assert not resize.keep_ratio
    width = {'w09': 84, 'w08': 72, 'w06': 60}.get(suffix, 96)
    assert model.backbone.num_features[0] == width
    first = {'41ms': 0.3, '34ms': 0.6, '33ms': 0.7}.get(suffix, 0)
    assert model.backbone.pruning_ratios[0] == [first, first]


def test_the_method_is_the_papers():
    """Twelve epochs of adaptation, the search, 36 to finetune, from a dense detector."""
    cfg = Config.fromfile(ROOT / 'configs' / 'sparsevit_maskrcnn_coco.py')
    adapt, search = (HOOKS.build(hook) for hook in cfg.custom_hooks)
    assert (adapt.begin, adapt.end, search.at) == (0, 12, 12)
    assert adapt.choices == search.settings.choices == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    evolution = search.settings.evolution
    assert (evolution.population, evolution.parents, evolution.mutation) == (100, 25, 0.1)
    assert search.settings.batch == 4
    assert search.settings.asks_for_latency
    assert cfg.load_from.startswith('https://download.openmmlab.com/mmdetection/')
    assert cfg.param_scheduler[1].end == 48


def test_one_variable_moves_all_paths(monkeypatch):
    monkeypatch.setenv('COCO_ROOT', '/somewhere/coco')
    cfg = Config.fromfile(ROOT / 'configs' / 'sparsevit_maskrcnn_coco.py')
    for split in 'train', 'val', 'test':
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/somewhere/coco'
    for evaluator in cfg.val_evaluator, cfg.test_evaluator:
        assert evaluator.ann_file == '/somewhere/coco/annotations/instances_val2017.json'
