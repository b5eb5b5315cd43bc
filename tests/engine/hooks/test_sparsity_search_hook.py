"""The search inside a training: its results, and that it does not change the training."""

import csv
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.hooks import SparsitySearchHook
from sparse_mm.engine.inspection import backbone_shape, find_backbone
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.sparsity_search import SparsitySearch
from sparse_mm.errors import BadInputError
from sparse_mm.search.cost import LatencyTable
from sparse_mm.search.space import CHOICES
from tests.engine.search.toy import toy_runner


class Watch(Hook):
    """Records everything that the search must not change."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.events = []

    def __getattribute__(self, name):
        if name.startswith(('before_val', 'after_val', 'before_test', 'after_test')):
            self.events.append(name)
        return super().__getattribute__(name)


def snapshot(runner):
    return dict(
        weights={name: value.clone() for name, value in runner.model.state_dict().items()},
        modes=[module.training for module in runner.model.modules()],
        torch=torch.get_rng_state(),
        random=random.getstate(),
        numpy=np.random.get_state()[1].tolist(),
        module_hooks=[
            (len(m._forward_hooks), len(m._forward_pre_hooks)) for m in runner.model.modules()
        ],
        runner_hooks=[type(hook) for hook in runner.hooks],
        shared_memory=sorted(Path('/dev/shm').glob(f'torch_{os.getpid()}_*')),
        schedule=[s.state_dict() for s in runner.param_schedulers],
        ema={
            name: value.clone()
            for hook in runner.hooks
            if hasattr(hook, 'ema_model')
            for name, value in hook.ema_model.state_dict().items()
        },
        log=dict(runner.message_hub.log_scalars),
        best=runner.message_hub.runtime_info.get('best_score'),
    )


def test_the_search_disturbs_nothing(tmp_path):
    found = {}

    class Around(Watch):
        def before_train_epoch(self, runner):
            if runner.epoch == 4:
                hook = next(h for h in runner.hooks if isinstance(h, SparsitySearchHook))
                # Validation has set evaluation mode. A frozen module must stay in it.
                runner.model.train()
                runner.model.norm.eval()
                before = snapshot(runner)
                self.events.clear()
                winners = hook.search.run()
                after = snapshot(runner)
                found.update(before=before, after=after, winners=winners)
                found['events'] = [event for event in self.events if 'val' in event]

    runner = toy_runner(tmp_path)
    around = Around()
    around.priority = 'VERY_HIGH'  # before the hook itself searches
    runner.register_hook(around)
    runner.train()
    before, after = found['before'], found['after']
    for name, value in before['weights'].items():
        assert torch.equal(after['weights'][name], value), name
    for name, value in before['ema'].items():
        assert torch.equal(after['ema'][name], value), name
    assert before['ema']
    assert after['modes'] == before['modes']
    assert any(before['modes'])
    assert not all(before['modes'])
    assert torch.equal(after['torch'], before['torch'])
    same = ('random', 'numpy', 'module_hooks', 'runner_hooks', 'shared_memory')
    for name in (*same, 'schedule', 'log', 'best'):
        assert after[name] == before[name]
    assert found['events'] == []
    assert list(tmp_path.glob('best_*'))  # the runner's own best checkpoint is still kept


def test_training_is_the_same_as_with_the_winner_known_before(tmp_path):
    searched = toy_runner(tmp_path / 'searched')
    searched.train()
    best = json.loads((tmp_path / 'searched/sparsity_search/best.json').read_text())

    class Set(Hook):
        priority = 'ABOVE_NORMAL'

        def before_train_epoch(self, runner):
            if runner.epoch == 4:
                runner.model.inner['body'].set_pruning_ratios(best['pruning_ratios'])

    known = toy_runner(tmp_path / 'known')
    known._hooks = [h for h in known.hooks if not isinstance(h, SparsitySearchHook)]
    known.register_hook(Set())
    known.train()
    expected = read_checkpoint(str(tmp_path / 'known/epoch_6.pth'))
    found = read_checkpoint(str(tmp_path / 'searched/epoch_6.pth'))
    assert 'inner.body.saved_ratios' in found['state_dict']
    for part in 'state_dict', 'ema_state_dict':
        for name, value in expected[part].items():
            assert torch.equal(value, found[part][name]), name


def test_the_winner_travels_and_a_finished_search_is_not_repeated(tmp_path):
    runner = toy_runner(tmp_path)
    runner.train()
    ratios = runner.model.inner['body'].pruning_ratios
    best = json.loads((tmp_path / 'sparsity_search/best.json').read_text())
    assert ratios == [[r for r in s for _ in range(2)] for s in best['pruning_ratios']]
    assert any(any(stage) for stage in ratios)
    state = (tmp_path / 'sparsity_search/state.json').read_bytes()
    scalars = next(tmp_path.glob('*/vis_data/scalars.json')).read_text()
    assert scalars.count('search/score') == len(json.loads(state)['records'])
    with (tmp_path / 'sparsity_search/history.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['role'] for row in rows[:2]] == ['dense', 'uniform']
    assert len({row['pruning_ratios'] for row in rows if row['role'] == 'population'}) == 12
    assert json.loads(rows[5]['pruning_ratios']) == json.loads(state)['records'][5]['ratios']
    again = toy_runner(tmp_path)
    again._resume = True
    again.cfg.train_cfg.max_epochs = again.train_loop._max_epochs = 7
    again.train()
    assert again.epoch == 7
    assert again.model.inner['body'].pruning_ratios == ratios
    assert (tmp_path / 'sparsity_search/state.json').read_bytes() == state


def test_only_images_of_one_size_merge_ratios_of_equal_counts(tmp_path):
    runner = toy_runner(tmp_path)
    settings = SearchSettings.build(
        budget='macs=0.7', metric='toy/likelihood', evaluations=2, image_size=(48, 48)
    )

    def choices():
        return [len(stage) for stage in SparsitySearch(runner, settings, tmp_path).space.choices]

    assert choices() == [9, 9]  # the config names no size
    runner.cfg.val_dataloader.dataset.pipeline = [dict(type='Resize', scale=(48, 48))]
    assert choices() == [9, 4]  # of 9 and 4 windows
    runner.cfg.model.data_preprocessor = dict(pad_size_divisor=32)
    assert choices() == [9, 9]


def test_another_devices_table_decides(tmp_path):
    """The table's milliseconds are used, not those of this machine."""
    runner = toy_runner(tmp_path / 'run')
    backbone = find_backbone(runner.model)
    shape = backbone_shape(backbone, (48, 48), 4)
    times = [{kept: kept * 1.0 for kept in map(stage.kept, CHOICES)} for stage in shape.stages]
    pairs = [[t] * len(s.pair_sizes()) for t, s in zip(times, shape.stages, strict=True)]
    table = LatencyTable(
        shape.image_size,
        shape.batch,
        stem_ms=5.0,
        stages=[dict(dense_ms=5.0, sparse_ms=8.0, pairs=own) for own in pairs],
        windows=[stage.num_windows for stage in shape.stages],
        channels=[stage.channels for stage in shape.stages],
    )
    path = tmp_path / 'table.json'
    path.write_text(table.to_json())
    settings = SearchSettings.build(
        budget='ms=25..28',
        metric='toy/likelihood',
        evaluations=6,
        population=3,
        num_images=4,
        finalists=1,
        image_size=(48, 48),
        latency_table=str(path),
    )
    search = SparsitySearch(runner, settings, tmp_path / 'search')
    search.prepare()
    winner = search.run()[0]
    for record in search.records.all:
        if record.role == 'population':
            sparse = [8.0 if stage[-1] else 5.0 for stage in record.ratios]
            kept = [
                shape.stages[i].kept(ratio)
                for i, stage in enumerate(record.ratios)
                for ratio in stage
            ]
            expected = 5 + sum(sparse) + sum(kept)
            assert search.costs.ms(record.ratios) == pytest.approx(expected)
            assert 25 <= expected <= 28
    best = json.loads((tmp_path / 'search' / 'best.json').read_text())
    assert best['pruning_ratios'] == [list(stage) for stage in winner.ratios]
    assert 25 <= best['ms'] <= 28
    assert 'measured_latency' not in best  # a measurement here would not hold for that device


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(budget='macs=0.01'), r'cannot be met: the search space reaches 0\.\d+ to 1 of the'),
        (dict(budget='latency=0.001'), r'search space reaches \d.* of the dense latency'),
        (dict(budget='macs=0.5000001..0.5000002'), 'No setting was found within the budget'),
        (dict(metric='toy/luck'), 'toy/luck.*evaluator gives toy/images, toy/likelihood'),
        (dict(image_size=None), 'val pipeline has no fixed image size'),
        (dict(choices=[0, 2]), 'at least 0 and less than 1'),
        (dict(latency_table='none.json'), "'none.json' cannot be read"),
        (dict(at=6), 'searches at 6, but the training ends at 6'),
    ],
)
def test_refused_before_the_training(tmp_path, settings, message, monkeypatch):
    # The tests must pass on a busy machine, too.
    monkeypatch.setattr('sparse_mm.engine.search.tables.NOISY', float('inf'))
    runner = toy_runner(tmp_path, latency_seconds=0.1, **settings)
    with pytest.raises(BadInputError, match=message):
        runner.train()
    assert runner.iter == 0


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(budget=None), 'needs a budget'),
        (dict(generations=2, evaluations=3), 'either generations or evaluations'),
        (dict(rule='most'), "'greater' or 'less'"),
        (dict(dtype='int8'), 'dtype must be one of'),
        (dict(strategy='bayes'), "'surrogate', 'evolution' or 'random', not 'bayes'"),
        (dict(strategy='surrogate', finalists=0), 'finalists at least 1'),
        (dict(strategy='surrogate', num_images=50, final_images=50), 'scored on more images'),
        (dict(finalists=None), 'finalists must be at least 0, a whole number, not None'),
        (dict(num_images=0), 'num_images must be at least 1, a whole number, not 0'),
        (dict(patience=3), "no setting 'patience'"),
        (dict(budjet='macs=0.5'), "no setting 'budjet'; did you mean 'budget'"),
        (dict(at=-1), 'whole number from 0, as at, not -1'),
        (dict(at='1'), "as at, not '1'"),
        (dict(by_epoch='no'), "by_epoch=False, not 'no'"),
        (dict(budget=0.7), 'budget="latency=0.7", not 0.7'),
        (dict(metric=None), 'needs a metric'),
        (dict(evaluations='8'), "evaluations must be at least 1, a whole number, not '8'"),
        (dict(seed=-3), 'seed must be at least 0, a whole number, not -3'),
        (dict(mutation='0.1'), "mutation of the search must be a number, not '0.1'"),
        (dict(latency_seconds='10'), 'latency_seconds of the search must be a number'),
        (dict(latency_seconds=0), 'latency_seconds must be above 0'),
        (dict(latency_table=5), 'latency_table of the search must be a name, not 5'),
        (dict(choices=0.5), 'choices must be a list of numbers, not 0.5'),
        (dict(stage_limits=['a', 0, 0, 0]), 'list of numbers or of pairs of them'),
        (dict(image_size=64), r'image_size must be \(H, W\) in pixels, not 64'),
        (dict(image_size=(0, 64)), r'image_size must be \(H, W\)'),
        (dict(image_size='64x96'), r'image_size must be \(H, W\)'),
    ],
)
def test_refused_settings(settings, message):
    options = dict(at=1, budget='macs=0.5', metric='toy/likelihood')
    with pytest.raises(BadInputError, match=message):
        SparsitySearchHook(**{**options, **settings})


def test_set_ratios_and_the_search_exclude_each_other(tmp_path):
    runner = toy_runner(tmp_path)
    runner.model.inner['body'].keeps_own_ratios = True
    runner._hooks = [h for h in runner.hooks if 'Adaptation' not in type(h).__name__]
    with pytest.raises(BadInputError, match='SparsitySearchHook would replace them'):
        runner.train()
