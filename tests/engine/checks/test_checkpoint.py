"""Checkpoints of other models, and files that are none."""

import re

import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checks import check_checkpoint, check_checkpoint_file, check_part
from sparse_mm.errors import BadInputError


def build(classes, name='backbone'):
    model = nn.Module()
    model.add_module(name, nn.Linear(4, 4))
    model.head = nn.Linear(4, classes)
    return model


def save(tmp_path, model):
    path = str(tmp_path / 'model.pth')
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


def test_other_heads_are_for_fine_tuning_only(tmp_path):
    path = save(tmp_path, build(3))
    assert check_checkpoint(path, build(3), whole=True) == []
    assert check_checkpoint(path, build(5), whole=False) == []
    (problem,) = check_checkpoint(path, build(5), whole=True)
    assert re.search(r'head\.weight \(3, 4\) instead of \(5, 4\)', problem)


def test_weights_that_are_missing(tmp_path):
    path = save(tmp_path, build(3).backbone)
    for whole in (True, False):
        (problem,) = check_checkpoint(path, build(3), whole=whole)
        assert re.search(r'lacks backbone\.weight.* has weight, bias', problem)


def test_what_is_no_checkpoint(tmp_path):
    path = str(tmp_path / 'model.pth')
    torch.save([1, 2], path)
    (problem,) = check_checkpoint(path, build(3), whole=True)
    assert re.search('holds a list, not a checkpoint', problem)
    torch.save(dict(meta=dict(epoch=1)), path)
    (problem,) = check_checkpoint(path, build(3), whole=True)
    assert re.search('holds no named weights', problem)


def test_nothing_unsafe_is_loaded(tmp_path):
    class Payload:
        def __reduce__(self):
            return getattr, (str, 'upper')

    path = str(tmp_path / 'model.pth')
    for content, named in ((Payload(), None), (Hook(), 'mmengine.hooks.hook.Hook')):
        torch.save(dict(state_dict=build(3).state_dict(), extra=content), path)
        with pytest.raises(BadInputError) as error:
            read_checkpoint(path)
        if named:
            assert f'holds {named}, which is not safe to load' in str(error.value)


def test_the_backbone_is_found_by_other_names(tmp_path):
    path = save(tmp_path, build(3, 'img_backbone'))
    model = build(5, 'img_backbone')
    assert check_checkpoint(path, model, whole=False) == []
    model.img_backbone = nn.Linear(6, 4)
    (problem,) = check_checkpoint(path, model, whole=False)
    assert 'img_backbone.weight (4, 4) instead of (4, 6)' in problem


def test_a_file_is_looked_at_before_any_model_is_built(tmp_path):
    assert check_checkpoint_file(save(tmp_path, build(3))) == []
    (problem,) = check_checkpoint_file(str(tmp_path / 'nothing.pth'))
    assert 'does not exist' in problem
    (tmp_path / 'text.pth').write_text('no checkpoint')
    assert 'not a PyTorch checkpoint' in check_checkpoint_file(str(tmp_path / 'text.pth'))[0]


def test_a_part_is_found_in_the_checkpoint_of_a_model(tmp_path):
    whole = nn.ModuleDict(dict(detector=build(3, 'img_backbone')))
    path = save(tmp_path, whole)
    assert check_part(path, nn.Linear(4, 4)) == []
    assert check_part(save(tmp_path, nn.Linear(4, 4)), nn.Linear(4, 4)) == []


def test_a_part_that_is_not_there_or_twice(tmp_path):
    path = save(tmp_path, build(4))
    (problem,) = check_part(path, nn.ModuleDict(dict(neck=nn.Linear(4, 4))))
    assert 'is of another model: it lacks neck.weight, neck.bias' in problem
    (problem,) = check_part(path, nn.Linear(4, 4))
    assert re.search(
        r"model\.pth': .*weights of this module twice, as 'backbone\.…' and 'head\.…'", problem
    )
    (problem,) = check_part(save(tmp_path, build(3).backbone), nn.Linear(6, 4))
    assert 'its shapes differ: weight (4, 4) instead of (4, 6)' in problem


def test_heads_without_the_backbone_are_nothing_to_start_from(tmp_path):
    """As of a detector whose backbone has another name: it would be trained from random weights."""
    other = build(3, 'img_backbone')
    (problem,) = check_checkpoint(save(tmp_path, other), build(3), whole=False)
    assert 'lacks backbone.weight, backbone.bias (and has img_backbone' in problem


def test_names_below_a_custom_wrapper_are_reported(tmp_path):
    path = save(tmp_path, nn.ModuleDict(dict(detector=build(3))))
    (problem,) = check_checkpoint(path, build(3), whole=True)
    assert "save it without the 'detector.' before all of its names" in problem


def test_what_a_diverged_training_left(tmp_path):
    model = build(3)
    nn.init.constant_(model.head.weight, float('nan'))
    (problem,) = check_checkpoint(save(tmp_path, model), build(3), whole=True)
    assert 'NaN or infinity in head.weight' in problem
