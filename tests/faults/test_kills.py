"""Adapt, search, finetune, killed at any moment and resumed: the same winner, the same weights.

The short version kills at a few moments. ``make faults`` draws 20, in one process and in two.
"""

import os
import random
import signal
import time

import pytest
from mmengine.config import Config

from tests.engine.search.toy import toy_config
from tests.faults.runs import TRAIN, Run, same_weights, scored, winner

LONG = int(os.environ.get('FAULTS', 0))  # moments to draw; make faults sets it
RANKS = (1, 2) if LONG else (1,)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'toy.py'
    # Of MACs: a measured latency is never the same twice, and with it the winner.
    Config(toy_config(evaluations=12, population=4, finalists=2)).dump(path)
    return path


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    """Uninterrupted runs, by the number of processes; with the seconds that each took."""
    found = {}
    for ranks in RANKS:
        folder = tmp_path_factory.mktemp(f'whole{ranks}')
        begun = time.monotonic()
        Run(folder, TRAIN, config, '--work-dir', 'run', ranks=ranks).finish()
        found[ranks] = folder / 'run', time.monotonic() - begun
    return found


def moments() -> list[str]:
    """Where to kill: at things that happen, and at times drawn by a seed."""
    named = ['writing', 'search 1', 'search 6', 'results', 'finetuning']
    return named if not LONG else [*named, *(f'time {i}' for i in range(LONG - len(named)))]


def reached(moment, work, begun, seconds):
    """A function that says whether the moment is there."""
    kind, _, number = moment.partition(' ')
    if kind == 'writing':  # a checkpoint's unfinished file, or the first whole one
        return lambda: list(work.glob('.epoch_2.pth.*')) or (work / 'epoch_3.pth').exists()
    if kind == 'search':
        return lambda: scored(work) >= int(number)
    if kind == 'results':
        return lambda: (work / 'sparsity_search' / 'best.json').exists()
    if kind == 'finetuning':
        return lambda: (work / 'epoch_5.pth').exists()
    # Importing takes the first part of a run; what can be lost comes after it.
    after = random.Random(moment).uniform(0.5, 1.0) * seconds
    return lambda: time.monotonic() - begun > after


@pytest.mark.slow
@pytest.mark.parametrize('ranks', RANKS)
@pytest.mark.parametrize('moment', moments())
def test_killed_and_resumed_it_comes_to_the_same_end(moment, ranks, whole, config, tmp_path):
    expected, seconds = whole[ranks]
    work = tmp_path / 'run'
    command = TRAIN, config, '--work-dir', 'run'
    run = Run(tmp_path, *command, ranks=ranks)
    run.when(reached(moment, work, time.monotonic(), seconds))
    run.kill()
    Run(tmp_path, *command, '--resume', ranks=ranks, port=29651).finish()
    assert winner(work) == winner(expected)
    assert same_weights(work / 'epoch_6.pth', expected / 'epoch_6.pth')
    assert not list(work.glob('.epoch*'))
    assert not list(work.glob('*.replaced'))


@pytest.mark.slow
def test_sigterm_leaves_in_order_and_says_how_to_go_on(config, tmp_path, whole):
    work = tmp_path / 'run'
    command = TRAIN, config, '--work-dir', 'run'
    run = Run(tmp_path, *command)
    assert run.when(lambda: scored(work) >= 3)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(30) == 128 + signal.SIGTERM
    assert 'stopped by SIGTERM' in run.output()
    assert '--resume' in run.output()
    assert 'Traceback' not in run.output()
    output = Run(tmp_path, *command, '--resume').finish()
    assert 'scores of state.json of' in output
    assert winner(work) == winner(whole[1][0])


@pytest.mark.slow
def test_a_second_run_is_refused_and_does_no_harm(config, tmp_path):
    work = tmp_path / 'run'
    command = TRAIN, config, '--work-dir', 'run'
    first = Run(tmp_path, *command)
    try:
        assert first.when(lambda: (work / 'epoch_1.pth').exists())
        first.process.send_signal(signal.SIGSTOP)  # it lives, and is slow
        second = Run(tmp_path, *command, '--resume')
        assert second.wait() == 1
        assert 'error: Another run works in' in second.output()
        first.process.send_signal(signal.SIGCONT)
        first.finish()
    finally:
        first.kill()
