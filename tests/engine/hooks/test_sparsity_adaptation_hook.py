"""Random ratios in every iteration of the phase, the same in all processes, none in validation."""

from types import SimpleNamespace

import pytest
from mmengine.hooks import Hook

from sparse_mm.engine.hooks import SparsityAdaptationHook
from sparse_mm.errors import BadInputError
from tests.engine.search.toy import ToyClassifier, toy_runner


def drawn(iterations, **options):
    """The ratios of some iterations, as a hook of one process draws them."""
    model = ToyClassifier()
    hook = SparsityAdaptationHook(by_epoch=False, **options)
    runner = SimpleNamespace(model=model, iter=0, epoch=0)
    hook.before_train(runner)
    found = {}
    for runner.iter in iterations:
        hook.before_train_iter(runner, 0)
        found[runner.iter] = model.inner['body'].pruning_ratios
        hook.after_train_iter(runner, 0)
        assert model.inner['body'].pruning_ratios == [[0.0] * 2, [0.0] * 4]
    return found


def test_ratios_depend_only_on_seed_and_iteration():
    whole = drawn(range(20))
    resumed = drawn(range(7, 20))  # another process, no state
    assert all(whole[i] == ratios for i, ratios in resumed.items())
    assert len({str(ratios) for ratios in whole.values()}) > 15
    assert drawn(range(5), seed=1) != drawn(range(5))


def test_ratios_come_from_the_space():
    for ratios in drawn(range(50), choices=[0, 0.25, 0.5], stage_limits=[0.25, 0.5]).values():
        assert ratios[0][0] == ratios[0][1] <= 0.25  # one gene for a pair of blocks
        assert ratios[1] == sorted(ratios[1])
        assert set(ratios[1]) <= {0, 0.25, 0.5}


class Watch(Hook):
    priority = 'VERY_LOW'

    def __init__(self):
        self.seen = []
        self.validated = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append((runner.epoch, runner.model.inner['body'].pruning_ratios))

    def before_val_epoch(self, runner):
        self.validated.append(runner.model.inner['body'].pruning_ratios)


def test_only_its_phase_is_sparse_and_validation_is_dense(tmp_path):
    runner = toy_runner(tmp_path)
    runner._hooks = [hook for hook in runner.hooks if 'Search' not in type(hook).__name__]
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    dense = [[0.0] * 2, [0.0] * 4]
    assert [epoch for epoch, ratios in watch.seen if ratios != dense] == [2] * 4 + [3] * 4
    assert watch.validated == [dense] * 3


def test_refusals(tmp_path):
    with pytest.raises(BadInputError, match='must end after it begins'):
        SparsityAdaptationHook(begin=3, end=3)
    runner = SimpleNamespace(model=ToyClassifier(pruning_ratios=0.5), iter=0, epoch=0)
    with pytest.raises(BadInputError, match=r'pruning_ratios are set.*leave one of the two out'):
        SparsityAdaptationHook().before_train(runner)
    runner.model = runner.model.head
    with pytest.raises(BadInputError, match='has no SparseViT backbones'):
        SparsityAdaptationHook().before_train(runner)
