"""FCOS3D with SparseViT builds at its real size on mmdet3d's own data set."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS, MODELS, init_default_scope

from tests.conftest import ROOT

pytest.importorskip('mmdet3d', reason='needs mmdet3d')

PATH = ROOT / 'configs' / 'sparsevit_fcos3d_nuscenes.py'


def test_config(monkeypatch):
    monkeypatch.setenv('NUSCENES_ROOT', '/somewhere/nuscenes')
    cfg = Config.fromfile(PATH)
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert type(model.backbone).__name__ == 'SparseViT'
    assert model.backbone.depths == (2, 2, 6, 2)
    assert cfg.model.backbone.convert_weights
    images = torch.zeros(1, 3, 928, 1600, device='meta')  # 900 rows, padded to a multiple of 32
    maps = model.neck(model.backbone(images))
    assert [1600 // level.shape[-1] for level in maps] == [8, 16, 32, 64, 123]
    for split in 'train', 'val', 'test':
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/somewhere/nuscenes'
        assert cfg[f'{split}_dataloader'].dataset.type == 'NuScenesDataset'
    # mmdet's Resize would not scale the 3D targets.
    assert cfg.train_dataloader.dataset.pipeline[2].type == 'Resize3D'
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.norm.decay_mult == 0
    for evaluator in cfg.val_evaluator, cfg.test_evaluator:
        assert evaluator.ann_file == '/somewhere/nuscenes/nuscenes_infos_val.pkl'
        assert type(METRICS.build(evaluator)).__name__ == 'MonoNuScenesMetric'
