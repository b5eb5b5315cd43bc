"""The search within a training: resuming with other weights, the best checkpoint, loaders."""

import json
import multiprocessing

import pytest
from mmengine.hooks import EarlyStoppingHook, Hook

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.hooks import CheckResumeHook, SparsitySearchHook
from tests.engine.search.toy import toy_runner


class KilledError(Exception):
    pass


class StopInTheSearch(Hook):
    """Ends the run after so many scores."""

    def __init__(self, scores):
        self.scores = scores

    def before_train(self, runner):
        hook = next(h for h in runner.hooks if isinstance(h, SparsitySearchHook))
        keep = hook.search._keep

        def stop(record):
            keep(record)
            if len(hook.search.records.all) == self.scores:
                hook.search.records.save()
                raise KilledError

        hook.search._keep = stop


class Nudge(Hook):
    """Training whose weights differ in the last bits, as on a GPU."""

    def after_train_epoch(self, runner):
        if runner.epoch == 3:
            runner.model.head.weight.data.mul_(1 + 1e-5)


def interrupted(tmp_path):
    runner = toy_runner(tmp_path)
    for hook in runner.hooks:
        if hasattr(hook, 'save_best'):
            hook.interval = 3
    runner.register_hook(StopInTheSearch(6))
    with pytest.raises(KilledError):
        runner.train()
    return runner


def resumed(tmp_path, *hooks):
    runner = toy_runner(tmp_path)
    runner._resume = True
    for hook in (CheckResumeHook(), *hooks):
        runner.register_hook(hook)
    return runner


def identity(tmp_path):
    return json.loads((tmp_path / 'sparsity_search/state.json').read_text())['identity']


def test_a_resumed_run_uses_the_state_at_the_start_of_its_search(tmp_path):
    interrupted(tmp_path)
    assert not (tmp_path / 'epoch_4.pth').exists()
    before = identity(tmp_path)
    runner = resumed(tmp_path, Nudge())
    runner.train()
    assert identity(tmp_path) == before
    assert not list((tmp_path / 'sparsity_search').glob('state.json.*'))
    state = json.loads((tmp_path / 'sparsity_search/state.json').read_text())
    start = read_checkpoint(str(tmp_path / 'sparsity_search/start.pth'))
    assert (start['meta']['epoch'], len(state['records'])) == (4, 18)
    assert runner.epoch == 6


def test_another_training_does_not_take_it_up(tmp_path):
    interrupted(tmp_path)
    before = identity(tmp_path)
    runner = resumed(tmp_path, Nudge())
    runner.cfg.optim_wrapper.optimizer.lr = 1.0  # as if the config was changed in between
    runner.train()
    assert identity(tmp_path) != before
    assert (tmp_path / 'sparsity_search/state.json.earlier').is_file()
    assert (tmp_path / 'sparsity_search/start.pth.earlier').is_file()


def test_the_best_is_counted_anew_and_nothing_is_left_over(tmp_path):
    counts = []
    before = set(multiprocessing.active_children())  # of other tests in this process

    class Count(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            counts.append(len(set(multiprocessing.active_children()) - before))

    runner = toy_runner(tmp_path)
    runner.register_hook(Count())
    stopping = EarlyStoppingHook(monitor='toy/likelihood', rule='greater', patience=99)
    stopping.best_score = 1.0  # of the dense model: never reached again
    runner.register_hook(stopping)
    runner.train()
    assert runner.epoch == 6
    (dense,) = tmp_path.glob('dense_best_*.pth')
    (best,) = tmp_path.glob('best_*.pth')
    ratios = [
        any(
            value.any()
            for name, value in read_checkpoint(str(p))['state_dict'].items()
            if name.endswith('saved_ratios') and value[..., 0].any()
        )
        for p in (dense, best)
    ]
    assert ratios == [False, True]
    assert runner.message_hub.get_info('best_ckpt') == str(best)
    assert set(counts) == {0}
    assert stopping.best_score < 1


def test_the_last_line_names_the_file_to_use(tmp_path, caplog):
    runner = toy_runner(tmp_path)
    lines = []
    runner.logger.info = lines.append
    runner.train()
    (best,) = tmp_path.glob('best_*.pth')
    assert f'The model within the budget is {best}' in lines[-1]
