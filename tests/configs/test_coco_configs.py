"""Every COCO config builds at its real size, with the settings that its name promises."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT

CONFIGS = sorted(path.name for path in (ROOT / 'configs').glob('sparsevit_maskrcnn_coco*.py'))
CONFIGS.remove('sparsevit_maskrcnn_coco_overfit.py')


def test_there_is_one_for_each_row_of_the_talk():
    rows = ('41ms', '34ms', '33ms', 'r576', 'r544', 'r512', 'w09', 'w08', 'w06')
    names = {'sparsevit_maskrcnn_coco.py', *(f'sparsevit_maskrcnn_coco_{r}.py' for r in rows)}
    assert names == set(CONFIGS)


@pytest.mark.parametrize('name', CONFIGS)
def test_config(name):
    cfg = Config.fromfile(ROOT / 'configs' / name)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert type(model.backbone).__name__ == 'SparseViT'
    assert model.neck.in_channels == model.backbone.num_features
    assert cfg.train_cfg.max_epochs == 36
    assert cfg.param_scheduler[1].milestones == [27, 33]
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'
    assert cfg.optim_wrapper.optimizer.lr == (1e-5 if 'ms' in name else 1e-4)
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


def test_one_variable_moves_all_paths(monkeypatch):
    monkeypatch.setenv('COCO_ROOT', '/somewhere/coco')
    cfg = Config.fromfile(ROOT / 'configs' / 'sparsevit_maskrcnn_coco.py')
    for split in 'train', 'val', 'test':
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/somewhere/coco'
    for evaluator in cfg.val_evaluator, cfg.test_evaluator:
        assert evaluator.ann_file == '/somewhere/coco/annotations/instances_val2017.json'
