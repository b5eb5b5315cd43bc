"""Every Cityscapes config builds at its real size, with the settings that its name says."""

from random import Random

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope

from sparse_mm.engine.image_sizes import fixed_image_size
from sparse_mm.search.space import RatioSpace
from tests.conftest import ROOT, require_configs_of
from tests.tools.test_get_flops import by_hand, tool  # noqa: F401, a fixture

CONFIGS = sorted(path.stem for path in (ROOT / 'configs').glob('sparsevit_*_cityscapes*.py'))
LARGE, SMALL = 'sparsevit_mask2former_cityscapes', 'sparsevit_upernet_cityscapes'


@pytest.fixture(autouse=True)
def mmseg() -> None:
    require_configs_of('mmseg')


def build(name):
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return cfg, MODELS.build(cfg.model)


def test_there_is_one_for_each_row_of_the_paper():
    large = [f'{LARGE}_{name}' for name in ('1296g', 'dense', 'r896')]
    expected = [LARGE, *large, SMALL, f'{SMALL}_dense']
    assert expected == CONFIGS


@pytest.mark.parametrize('name', CONFIGS)
def test_config(name):
    cfg, model = build(name)
    large = 'mask2former' in name
    backbone = model.backbone
    assert type(backbone).__name__ == 'SparseViT'
    assert backbone.depths == (2, 2, 18 if large else 6, 2)
    assert backbone.num_features == [(192 if large else 96) * 2**i for i in range(4)]
    assert {stage.window_size for stage in backbone.stages} == {12 if large else 7}
    head = model.decode_head
    channels = cfg.model.decode_head.in_channels if large else head.in_channels
    assert channels == backbone.num_features
    assert head.num_classes == 19
    assert tuple(cfg.model.data_preprocessor.size) == (512, 1024)
    crop = next(t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'RandomCrop')
    assert tuple(crop.crop_size) == (512, 1024)
    size = (896, 1792) if name.endswith('_r896') else (1024, 2048)
    assert {fixed_image_size(cfg, split) for split in ('val', 'test')} == {size}
    # Parameters of the backbone that mmseg's recipe excludes from weight decay are not decayed.
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    spared = {id(p) for n, p in backbone.named_parameters() if 'norm' in n or 'bias_table' in n}
    decays = {
        g['weight_decay'] for g in optimizer.param_groups for p in g['params'] if id(p) in spared
    }
    assert decays == {0}


@pytest.mark.parametrize(('name', 'iterations'), [(LARGE, (0, 30, 120)), (SMALL, (80, 100, 160))])
def test_the_method(name, iterations):
    """Adaptation and finetuning by iterations, 1 : 3 as in the paper; saved before the search."""
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    begin, at, end = (1000 * n for n in iterations)
    adapt, search = (HOOKS.build(hook) for hook in cfg.custom_hooks)
    assert not adapt.by_epoch
    assert not search.by_epoch
    assert (adapt.begin, adapt.end, search.at) == (begin, at, at)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == end
    assert end - at == 3 * (at - begin)
    assert at % cfg.default_hooks.checkpoint.interval == 0
    assert end % cfg.train_cfg.val_interval == 0
    assert search.settings.metric == 'mIoU'
    assert search.settings.asks_for_latency
    if name == LARGE:
        assert cfg.load_from.startswith('https://download.openmmlab.com/mmsegmentation/')
        assert cfg.param_scheduler[1].milestones == [97500, 112500]


def test_eighteen_blocks_are_searched_and_named_shortly():
    _, model = build(LARGE)
    space = RatioSpace.build(model.backbone.depths)
    assert len(space.draw(Random(0))[2]) == 9
    pairs = [0, 0, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    model.backbone.set_pruning_ratios([0.4, 0, pairs, 0.2])
    assert model.backbone.pruning_ratios[2] == [ratio for ratio in pairs for _ in range(2)]
    model.backbone.set_pruning_ratios([0.4, 0, 0.3, 0.2])
    assert model.backbone.pruning_ratios[2] == [0.3] * 18


def test_the_sparse_row_has_as_many_macs_as_the_dense_one_of_its_latency():
    cfg, _ = build(f'{LARGE}_1296g')
    ratios = cfg.model.backbone.pruning_ratios
    sparse = by_hand((1024, 2048), 1, 192, ratios, (2, 2, 18, 2), 12)
    dense = by_hand((896, 1792), 1, 192, None, (2, 2, 18, 2), 12)
    assert sparse / 1e9 == pytest.approx(1296, abs=0.5)
    assert sparse == pytest.approx(dense, rel=0.005)


@pytest.mark.parametrize('ratios', [None, [0.6, 0, [0, 0, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0]])
def test_macs_of_the_large_backbone(tool, ratios):  # noqa: F811
    _, model = build(f'{LARGE}_dense')
    backbone = model.backbone.eval()
    backbone.set_pruning_ratios(ratios)
    for shape in (1024, 2048), (896, 1792):
        images = torch.zeros(1, 3, *shape, device='meta')
        expected = by_hand(shape, 1, 192, ratios, backbone.depths, 12)
        assert tool['count_macs'](backbone, images) == expected


def test_one_variable_moves_all_paths(monkeypatch):
    monkeypatch.setenv('CITYSCAPES_ROOT', '/somewhere/cityscapes')
    for name in CONFIGS:
        cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
        for split in 'train', 'val', 'test':
            assert cfg[f'{split}_dataloader'].dataset.data_root == '/somewhere/cityscapes'
