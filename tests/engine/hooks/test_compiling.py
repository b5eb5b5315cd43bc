"""A compiled training step: the same numbers, and nothing compiled for ratios of one iteration."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from sparse_mm.engine.command_line import build_runner
from sparse_mm.engine.hooks import SparsityAdaptationHook, SparsitySearchHook
from sparse_mm.engine.hooks.compiling import how_compiled
from sparse_mm.errors import BadInputError
from tests.engine.search.toy import ToyClassifier, toy_config


class Watch(Hook):
    """Keeps each step's loss, and how many graphs were compiled by then."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.losses, self.graphs = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(float(outputs['loss']))
        self.graphs.append(count_graphs())


def count_graphs():
    return torch._dynamo.utils.counters['stats']['unique_graphs']


@pytest.fixture
def new_compiler():
    """A compiler that has compiled nothing yet."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def train(folder, **settings):
    """Two epochs dense, two with random ratios, a search, two with its winner."""
    cfg = Config({**toy_config(latency_seconds=0.1), **settings})
    cfg.work_dir, cfg.launcher, cfg.log_level = str(folder), 'none', 'ERROR'
    cfg.experiment_name = f'compiled_{abs(hash(str(folder)))}'
    runner = build_runner(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    return watch, runner.model.inner['body'].pruning_ratios


@pytest.mark.slow
def test_a_compiled_step_adapts_searches_and_finetunes(tmp_path, new_compiler):
    plain, ratios = train(tmp_path / 'plain')
    # Dynamo's own part of compiling, which is quick.
    compiled, same_ratios = train(tmp_path / 'compiled', compile=dict(backend='eager'))
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-4)
    assert same_ratios == ratios
    assert max(ratios[1]) > 0
    # Epochs have four steps: dense ones, random ones from step 8, the winner's from step 16.
    graphs = compiled.graphs
    assert graphs[7] < graphs[8] == graphs[15]  # one variant for all random ratios
    assert graphs[15] < graphs[16] == graphs[-1]


def runner(model=None, **cfg):
    loop = SimpleNamespace(max_iters=4)
    logger = logging.getLogger('compiling')
    return SimpleNamespace(
        model=model or ToyClassifier(),
        cfg=Config(cfg),
        iter=0,
        epoch=0,
        train_loop=loop,
        logger=logger,
    )


@pytest.fixture(params=['in place', 'wrapped'])
def compiled_by_hand(request):
    model = ToyClassifier()
    if request.param == 'in place':
        model.inner['body'].compile(backend='eager')
    else:
        model.inner['body'] = torch.compile(model.inner['body'], backend='eager')
    return model


def test_a_model_that_the_user_has_compiled_is_adapted(compiled_by_hand, new_compiler, caplog):
    run = runner(compiled_by_hand)
    hook = SparsityAdaptationHook(by_epoch=False)
    with caplog.at_level('INFO'):
        hook.before_train(run)
    assert 'a part of the model is compiled. While SparsityAdaptationHook changes' in caplog.text
    images = torch.rand(1, 3, 32, 32)
    for run.iter in range(3):
        hook.before_train_iter(run, 0)
        compiled_by_hand.inner['body'](images)
        hook.after_train_iter(run, 0)
    assert count_graphs() == 0
    compiled_by_hand.inner['body'](images)
    assert count_graphs() == 1


def test_a_forward_of_the_users_own_comes_back():
    model = ToyClassifier()
    body = model.inner['body']
    calls, plain = [], body.forward
    body.forward = own = lambda images: (calls.append(1), plain(images))[1]
    run = runner(model, compile=True)
    hook = SparsityAdaptationHook(by_epoch=False)
    hook.before_train(run)
    hook.before_train_iter(run, 0)
    body(torch.rand(1, 3, 32, 32))
    assert calls == [1]
    hook.after_train_iter(run, 0)
    assert body.forward is own


def test_a_model_that_the_user_has_compiled_is_not_searched(compiled_by_hand):
    hook = SparsitySearchHook(
        at=1, by_epoch=False, budget=dict(unit='macs', max=0.7), metric='accuracy'
    )
    with pytest.raises(BadInputError, match=r'is compiled with torch.compile.*Set compile=True'):
        hook.before_train(runner(compiled_by_hand))


def test_the_config_tells_whether_a_step_is_compiled():
    for cfg in {}, dict(compile=False), dict(compile=None):
        assert how_compiled(runner(**cfg)) is None
    assert how_compiled(runner(compile=True)).startswith('compile=True compiles the training step')
    assert 'compile={} compiles' in how_compiled(runner(compile={}))
