"""Settings of another kind than MMEngine takes, found before anything is read or built."""

from copy import deepcopy

import pytest
from mmengine.config import Config

from sparse_mm.engine.checks import check_loops, check_structure, check_types

WHOLE = dict(
    model=dict(type='ToyModel', backbone=dict(type='SparseViT', init_cfg=dict(type='Pretrained'))),
    custom_hooks=[dict(type='EMAHook')],
    default_hooks=dict(logger=dict(type='LoggerHook'), timer=None),
    train_dataloader=dict(batch_size=2, num_workers=0, dataset=dict(type='ToyDataset')),
    train_cfg=dict(max_epochs=3),
    optim_wrapper=dict(type='OptimWrapper'),
    val_dataloader=None,
    val_cfg=None,
    val_evaluator=None,
    randomness=dict(seed=None),
    log_level='INFO',
)


def changed(path, value):
    cfg = Config(deepcopy(WHOLE))
    *groups, name = path.split('.')
    node = cfg
    for group in groups:
        node = node[group]
    node[name] = value
    return cfg


def test_what_mmengine_accepts_is_accepted():
    assert check_structure(Config(WHOLE)) == []
    assert check_structure(Config({})) == []
    assert check_structure(changed('custom_hooks', None)) == []
    assert check_structure(changed('train_cfg.max_iters', 8e4)) == []
    assert check_loops(Config(WHOLE)) == []


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        ('model', 'MaskRCNN', "model of the config holds other settings, and is 'MaskRCNN'"),
        ('train_cfg', 5, 'train_cfg of the config holds other settings'),
        ('custom_hooks', dict(type='EMAHook'), 'custom_hooks of the config is a list of hooks'),
        ('custom_hooks', ['EMAHook'], 'custom_hooks.0 of the config is a hook, dict(type=…), not'),
        ('custom_hooks', [dict(begin=0)], 'custom_hooks.0 of the config is a hook'),
        ('default_hooks.logger', 'LoggerHook', 'default_hooks.logger of the config is a hook'),
        ('train_dataloader.dataset', None, 'train_dataloader.dataset is a data set'),
        ('train_dataloader.num_workers', -1, 'num_workers must be a whole number of at least 0'),
        ('train_cfg.max_epochs', 'abc', 'train_cfg.max_epochs must be a whole number'),
        ('train_cfg.max_epochs', -1, 'train_cfg.max_epochs must be a whole number'),
        ('train_cfg.val_interval', 0, 'train_cfg.val_interval must be a whole number'),
        ('randomness.seed', 'abc', 'randomness.seed must be a whole number from 0 to 4294967295'),
        ('load_from', 3, 'load_from of the config is a path, not 3'),
        ('optim_wrapper.clip_grad', 3, 'clip_grad is dict(max_norm=…), not 3'),
        ('optim_wrapper.clip_grad', dict(max_norm='abc'), "max_norm is a number, not 'abc'"),
        (
            'model.data_preprocessor',
            dict(mean=[1, 1, 1], std=[1, 0, 1]),
            'model.data_preprocessor.std of the config divides the images and must be above 0, not',
        ),
        (
            'train_dataloader.dataset.pipeline',
            [dict(type='Normalize', mean=[0.0], std=[0.0])],
            'train_dataloader.dataset.pipeline.0.std of the config',
        ),
        ('compile', 3, 'compile of the config is True, False or dict(backend=…), not 3'),
        (
            'compile',
            dict(backend='inductr'),
            "compile={'backend': 'inductr'} of the config is",
        ),
        ('compile', dict(mode='fastest'), 'is none for torch.compile: Unrecognized mode=fastest'),
        ('compile', dict(backnd='eager'), "an unexpected keyword argument 'backnd'"),
        ('log_level', 'LOUD', "not 'LOUD'"),
    ],
)
def test_settings_of_another_kind(path, value, said):
    (problem,) = check_structure(changed(path, value))
    assert said in problem


def test_a_model_without_a_type():
    cfg = changed('model', dict(backbone=dict(type='SparseViT')))
    (problem,) = check_structure(cfg)
    assert problem == 'model of the config has no type, only backbone.'


def test_what_belongs_together():
    (problem,) = check_loops(changed('optim_wrapper', None))
    assert 'has train_dataloader and train_cfg and no optim_wrapper' in problem
    (problem,) = check_loops(changed('val_cfg', dict(type='ValLoop')))
    assert 'val_cfg and no val_dataloader and no val_evaluator, which belong together' in problem


def test_types_that_there_are_not():
    pytest.importorskip('mmdet', reason='needs mmdet')
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=dict(
                type='MaskRCNN',
                backbone=dict(type='SparseVit'),
                neck=dict(type='FPN'),
                init_cfg=dict(type='Kaiming'),
            ),
            custom_hooks=[dict(type='SparsitySerchHook')],
            val_dataloader=dict(
                dataset=dict(type='CocoDatset', pipeline=[dict(type='LoadImageFromFil')])
            ),
            val_evaluator=[dict(type='CocoMetrik'), dict(type='mmpretrain.Acuracy')],
        )
    )
    problems = check_types(cfg, ('val',))
    for given, meant in (
        ('SparseVit', 'SparseViT'),
        ('SparsitySerchHook', 'SparsitySearchHook'),
        ('CocoDatset', 'CocoDataset'),
        ('LoadImageFromFil', 'LoadImageFromFile'),
        ('CocoMetrik', 'CocoMetric'),
    ):
        found = [problem for problem in problems if repr(given) in problem]
        assert len(found) == 1
        assert f'did you mean {meant!r}' in found[0]
    assert len(problems) == 6
    assert check_types(cfg, ())[0] in problems


def test_a_type_of_a_registry_of_a_hosts_own():
    registry = pytest.importorskip('mmpretrain.registry', reason='needs mmpretrain')
    registry.TOKENIZER.register_module('OwnTokenizer', module=dict)
    try:
        model = dict(type='ImageClassifier', tokenizer=dict(type='OwnTokenizer'))
        assert check_types(Config(dict(default_scope='mmpretrain', model=model)), ()) == []
    finally:
        del registry.TOKENIZER.module_dict['OwnTokenizer']


def test_a_type_of_another_package():
    pytest.importorskip('mmdet.models', reason='needs mmdet')
    cfg = Config(dict(default_scope='mmengine', model=dict(type='MaskRCNN')))
    (problem,) = check_types(cfg, ())
    assert "write type='mmdet.MaskRCNN', or set default_scope='mmdet'" in problem
