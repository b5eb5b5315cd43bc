"""Functions of tools/test.py that no small run reaches."""

import runpy
import socket
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from sparse_mm.errors import BadInputError
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools' / 'test.py'))


def config(evaluator, **settings):
    leaves = [dict(type='X', pipeline=[dict(type='Load'), dict(type=name)]) for name in 'PQ']
    return Config(
        dict(
            default_scope=None,
            model=dict(type='mmdet.RTMDet'),
            test_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=leaves)),
            test_evaluator=evaluator,
            **settings,
        )
    )


def test_every_joined_set_is_augmented_by_names_with_their_scope(tool):
    evaluators = [dict(type='DumpResults'), dict(type='CocoMetric', metric=['bbox', 'segm'])]
    cfg = config(evaluators)
    tool['augment_test'](cfg)
    for leaf, pack in zip(cfg.test_dataloader.dataset.datasets, 'PQ', strict=True):
        load, augmented = leaf.pipeline
        assert load == dict(type='Load')
        flips, packs = augmented.transforms
        assert [flip.type for flip in flips] == ['mmdet.RandomFlip'] * 2
        assert packs[0].type == pack
        assert 'flip_direction' in packs[0].meta_keys
    assert cfg.model.type == 'mmdet.DetTTAModel'
    assert cfg.model.module.type == 'mmdet.RTMDet'
    assert cfg.test_evaluator[1].metric == ['bbox']


def test_a_pipeline_of_the_configs_own_is_given_to_every_set(tool):
    cfg = config([], tta_pipeline=[dict(type='Mine')], tta_model=dict(type='MyTTA'))
    tool['augment_test'](cfg)
    for leaf in cfg.test_dataloader.dataset.datasets:
        assert leaf.pipeline == [dict(type='Mine')]


def test_masks_that_cannot_be_joined(tool):
    with pytest.raises(BadInputError, match='CocoPanopticMetric judges; test without --tta'):
        tool['augment_test'](config(dict(type='CocoPanopticMetric')))


@pytest.mark.parametrize(
    ('display', 'there'), [('', False), (':9871', False), ('localhost:59000.0', False)]
)
def test_displays_that_are_not_there(tool, display, there, monkeypatch):
    monkeypatch.setattr(tool['sys'], 'platform', 'linux')
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    monkeypatch.setenv('DISPLAY', display)
    assert tool['has_display']() == there


def test_a_display_on_another_machine(tool, monkeypatch):
    monkeypatch.setattr(tool['sys'], 'platform', 'linux')
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    with socket.socket() as door:
        try:
            door.bind(('127.0.0.1', 6077))
        except OSError:
            pytest.skip('the port of display 77 is taken')
        door.listen()
        monkeypatch.setenv('DISPLAY', '127.0.0.1:77.0')
        assert tool['has_display']()


@pytest.mark.parametrize('joined', [False, True])
def test_predictions_are_written_beside_an_evaluator_of_several_sets(tool, tmp_path, joined):
    """MultiDatasetsEvaluator has one metric for each set, and would drop the one that writes."""
    path = tmp_path / 'found.pkl'
    evaluator = dict(type='MultiDatasetsEvaluator', metrics=[], dataset_prefixes=['a'])
    hooks = []
    runner = SimpleNamespace(
        cfg=Config(dict(test_evaluator=evaluator if joined else dict(type='X'))),
        test_evaluator=SimpleNamespace(metrics=[]),
        test_dataloader=SimpleNamespace(dataset=[0]),
        register_hook=hooks.append,
    )
    tool['dump_predictions'](runner, str(path))
    (metric,) = runner.test_evaluator.metrics
    metric.process({}, [dict(score=1.0)])
    for hook in hooks:
        hook.after_test_epoch(runner, {})
    assert path.is_file() == joined
    assert len(hooks) == joined


def own_metric():
    from mmseg.evaluation import IoUMetric

    class OwnMetric(IoUMetric):
        def __init__(self, **settings):
            super().__init__(**settings)

    return OwnMetric


def test_every_metric_that_can_write_does(tool):
    pytest.importorskip('mmseg.evaluation', reason='needs mmseg')
    cfg = Config(dict(default_scope='mmseg', test_evaluator=dict(type='DepthMetric')))
    tool['write_maps'](cfg, 'maps')
    assert cfg.test_evaluator == dict(type='DepthMetric', output_dir='maps', keep_results=True)
    cfg.test_evaluator = dict(type=own_metric())
    tool['write_maps'](cfg, 'maps')
    assert cfg.test_evaluator.output_dir == 'maps'
    cfg.test_evaluator = [dict(type='mmengine.DumpResults', out_file_path='a.pkl')]
    with pytest.raises(BadInputError, match=r'no metric of the test_evaluator \(DumpResults\)'):
        tool['write_maps'](cfg, 'maps')
