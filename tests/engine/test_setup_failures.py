"""Errors deep in a package, told as what they say about a config."""

import re

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.registry import MODELS
from torch import nn

from sparse_mm.engine.explanations import explain
from sparse_mm.engine.setup_failures import explain_set_up


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
