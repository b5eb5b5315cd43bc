"""Errors deep in a package are explained by the config."""

import os
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.registry import DATASETS, METRICS, MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from sparse_mm.engine import setup_failures
from sparse_mm.engine.explanations import explain
from sparse_mm.engine.setup_failures import as_raised, explain_set_up


def error_of(call):
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def test_an_assertion_of_a_host_names_what_was_built():
    pytest.importorskip('mmdet.models', reason='needs mmdet')
    cfg = dict(type='mmdet.DetDataPreprocessor', mean=[1.0, 2.0], std=[1.0, 2.0])
    told = explain(error_of(lambda: MODELS.build(cfg)))
    assert told.startswith('DetDataPreprocessor cannot be built from what the config gives it: ')
    assert re.search(r'AssertionError: .*1 or 3 values.*\(.*\.py, line \d+\)\.$', told)


def test_an_assertion_without_words_is_quoted():
    pytest.importorskip('mmdet.models', reason='needs mmdet')
    cfg = dict(type='mmdet.FPN', in_channels=8, out_channels=4, num_outs=5)
    told = explain(error_of(lambda: MODELS.build(cfg)))
    assert 'AssertionError: assert isinstance(in_channels, list)' in told


def test_code_of_the_users_own_keeps_its_traceback():
    @MODELS.register_module(name='OwnPart', force=True)
    class OwnPart(nn.Module):
        def __init__(self):
            super().__init__()
            raise ValueError('a mistake of my own')

    try:
        assert explain(error_of(lambda: MODELS.build(dict(type='OwnPart')))) is None
    finally:
        MODELS.module_dict.pop('OwnPart')


def test_what_came_later_keeps_its_traceback():
    assert explain_set_up(error_of(lambda: torch.zeros(2)[5])) is None
    assert explain_set_up(MemoryError()) is None


def test_parts_of_a_model_that_do_not_fit():
    pytest.importorskip('mmdet.models', reason='needs mmdet')
    neck = MODELS.build(dict(type='mmdet.FPN', in_channels=[8], out_channels=4, num_outs=1))
    told = explain(error_of(lambda: neck([torch.zeros(1, 6, 4, 4)])))
    assert told.startswith('FPN does not fit what comes before it')
    assert 'to have 8 channels, but got 6 channels' in told


def test_a_misspelt_best_metric():
    hook = CheckpointHook(save_best='coco/bbox_map', rule='greater')

    class Runner:
        epoch = iter = 0

    def save():
        hook.out_dir = '.'
        hook._save_best_checkpoint(Runner(), {'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.5})

    told = explain_set_up(error_of(save))
    assert "save_best='coco/bbox_map'; the evaluator gives coco/bbox_mAP, coco/segm_mAP" in told


class OurPart(nn.Module):
    """Like a module of this package with a bug."""

    def __init__(self, width, inside):
        super().__init__()
        self.width = self.halve(width) if inside else width // 2

    def halve(self, width):
        return width.half


@pytest.mark.parametrize('inside', [True, False])
def test_a_mistake_in_our_own_code_keeps_its_traceback(monkeypatch, inside):
    """An error of a wrong setting in the constructor itself is reported as it is."""
    folder = str(Path(__file__).parent) + os.sep
    monkeypatch.setattr(setup_failures, 'OURS', (folder,))
    monkeypatch.setattr(setup_failures, 'INSTALLED', (*setup_failures.INSTALLED, folder))
    monkeypatch.setitem(MODELS.module_dict, 'OurPart', OurPart)
    told = explain(error_of(lambda: MODELS.build(dict(type='OurPart', width='x', inside=inside))))
    assert (told is None) == inside


def test_a_detector_that_was_given_no_settings_for_its_training():
    heads = pytest.importorskip('mmdet.models.dense_heads', reason='needs mmdet')
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = heads.RetinaHead(num_classes=2, in_channels=4, feat_channels=4, stacked_convs=1)
    structures = pytest.importorskip('mmdet.structures')
    data = pytest.importorskip('mmengine.structures')
    flat, size = torch.zeros(1, 4), dict(img_shape=(8, 8))
    told = explain(error_of(partial(head._get_targets_single, flat, flat[:, 0] == 0, None, size)))
    assert told is not None
    assert told.startswith('RetinaHead cannot be trained without train_cfg')
    with DefaultScope.overwrite_default_scope('mmdet'):
        roi_head = MODELS.build(dict(type='StandardRoIHead', train_cfg=None))
    roi_head.bbox_assigner = None
    truth = structures.DetDataSample(gt_instances=data.InstanceData(labels=flat[0]))
    proposals = data.InstanceData(bboxes=flat)
    told = explain(error_of(partial(roi_head.loss, [flat], [proposals], [truth])))
    assert told is not None
    assert told.startswith('StandardRoIHead cannot be trained without train_cfg')
    with pytest.raises(AttributeError) as caught:
        _ = head.assigner
    assert explain(caught.value) is None  # our own code called it


def test_a_mistake_elsewhere_in_a_part_is_none_of_its_settings():
    class Part(nn.Module):
        train_cfg = None

        def forward(self):
            return self.nothing

    assert explain(error_of(Part())) is None


def test_a_part_that_does_not_take_what_it_is_given_is_named():
    pytest.importorskip('mmdet.models', reason='needs mmdet')
    neck = MODELS.build(dict(type='mmdet.FPN', in_channels=[8, 8], out_channels=4, num_outs=2))
    told = explain(error_of(lambda: neck([torch.zeros(1, 8, 4, 4)])))
    assert told.startswith(
        'FPN cannot compute what the config gives it: AssertionError: assert len'
    )

    class Own(nn.Module):  # which may have the bug
        def forward(self, x):
            return neck([x])

    assert explain(error_of(lambda: Own()(torch.zeros(1, 8, 4, 4)))) is None


def test_a_label_that_is_no_class():
    pytest.importorskip('mmpretrain.models', reason='needs mmpretrain')
    loss = MODELS.build(dict(type='mmpretrain.CrossEntropyLoss'))
    told = explain(error_of(lambda: loss(torch.zeros(2, 3), torch.tensor([0, 3]))))
    assert told.startswith('A label of the data is none of the classes of CrossEntropyLoss (Target')


def test_a_metric_that_refuses_its_settings():
    pytest.importorskip('mmpretrain.evaluation', reason='needs mmpretrain')
    metric = METRICS.build(dict(type='mmpretrain.Accuracy', topk=9))
    metric.results = [dict(pred_score=torch.ones(2), gt_label=torch.ones(1))]
    told = explain(error_of(lambda: metric.compute_metrics(metric.results)))
    assert told.startswith('Accuracy of the evaluator gives no scores: Top-9 accuracy is unavail')


@pytest.mark.parametrize('setting', [dict(topk=('a', 'b')), dict(thrs='abc')])
def test_a_metric_with_a_setting_of_a_wrong_kind(setting):
    """As MMEngine raises it where a hook computes the metric: without the traceback."""
    pytest.importorskip('mmpretrain.evaluation', reason='needs mmpretrain')
    metric = METRICS.build(dict(type='mmpretrain.Accuracy', **setting))
    metric.results = [dict(pred_score=torch.ones(2), gt_label=torch.ones(1))]
    hook = SimpleNamespace(begin=lambda runner: metric.compute_metrics(metric.results))
    runner = SimpleNamespace(_hooks=[hook])
    told = explain(error_of(lambda: Runner.call_hook(runner, 'begin')))
    assert told.startswith('Accuracy of the evaluator gives no scores: TypeError: ')
    assert told.endswith('check the kinds of its settings in the config.')

    def own(runner):
        return 1 + 'a'

    hook.begin = own
    error = error_of(lambda: Runner.call_hook(runner, 'begin'))
    assert explain(error) is None
    assert as_raised(error).__traceback__.tb_next.tb_frame.f_code.co_name == 'own'


def test_a_hook_with_a_setting_of_a_wrong_kind():
    runner = SimpleNamespace(_hooks=[CheckpointHook(interval='abc')], epoch=0)
    told = explain(error_of(lambda: Runner.call_hook(runner, 'after_train_epoch')))
    assert told.startswith('CheckpointHook cannot work with its settings in the config: TypeError')
    assert told.endswith('check their kinds.')


def test_a_class_that_a_3d_data_set_does_not_know():
    pytest.importorskip('mmdet3d.datasets', reason='needs mmdet3d')
    cfg = dict(
        type='mmdet3d.NuScenesDataset',
        data_root='nowhere',
        ann_file='a',
        metainfo=dict(classes=['walker']),
    )
    told = explain(error_of(lambda: DATASETS.build(cfg)))
    assert told.startswith("metainfo.classes of NuScenesDataset names 'walker'; it can only select")
