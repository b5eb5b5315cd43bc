"""Hooks that change the ratios and compilers do not go together."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from sparse_mm.engine.hooks import SparsityAdaptationHook, SparsitySearchHook
from sparse_mm.errors import BadInputError
from tests.engine.search.toy import ToyClassifier

HOOKS = {
    'SparsityAdaptationHook': lambda: SparsityAdaptationHook(by_epoch=False),
    'SparsitySearchHook': lambda: SparsitySearchHook(
        at=1, by_epoch=False, budget=dict(unit='macs', max=0.7), metric='accuracy'
    ),
}


def runner(model=None, **cfg):
    loop = SimpleNamespace(max_iters=4)
    return SimpleNamespace(
        model=model or ToyClassifier(), cfg=Config(cfg), iter=0, epoch=0, train_loop=loop
    )


@pytest.mark.parametrize('name', HOOKS)
@pytest.mark.parametrize('asked', [True, dict(mode='max-autotune'), {}])
def test_mmengines_compile_is_refused(name, asked):
    with pytest.raises(BadInputError, match=f'{name} changes the pruning ratios, and compile='):
        HOOKS[name]().before_train(runner(compile=asked))


@pytest.mark.parametrize('part', ['in place', 'wrapped'])
def test_a_model_that_the_user_has_compiled_is_refused(part):
    model = ToyClassifier()
    if part == 'in place':
        model.inner['body'].compile(backend='eager')
    else:
        model.inner['body'] = torch.compile(model.inner['body'], backend='eager')
    with pytest.raises(BadInputError, match='the model is compiled'):
        SparsityAdaptationHook(by_epoch=False).before_train(runner(model))


@pytest.mark.parametrize('cfg', [{}, dict(compile=False), dict(compile=None)])
def test_others_go_on(cfg):
    SparsityAdaptationHook(by_epoch=False).before_train(runner(**cfg))
