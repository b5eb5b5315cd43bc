"""Adapt, search, finetune, killed at any moment and resumed: the same winner, the same weights.

The short version kills at a few moments. ``make faults`` draws 20, in one process and in two.
"""

import itertools
import os
import random
import signal
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.engine.search.toy import toy_config
from tests.faults.kill_table import KillTable
from tests.faults.moments import KINDS, kind_of
from tests.faults.runs import TRAIN, Run, same_weights, scored, unfinished, winner

LONG = int(os.environ.get('FAULTS', 0))  # moments to draw; make faults sets it
SEED = int(os.environ.get('FAULTS_SEED', 0))


@pytest.fixture(scope='module')
def command(tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'toy.py'
    search = dict(budget='latency=0.8', evaluations=12, population=4, finalists=2)
    Config(toy_config(**search, latency_seconds=0.1)).dump(path)
    return TRAIN, path, '--work-dir', 'run'


@pytest.fixture(scope='module')
def whole(forks, command, tmp_path_factory):
    """Uninterrupted runs, by the number of processes: the work directory and all moments."""

    found = {}

    def run(ranks):
        if ranks not in found:
            folder = tmp_path_factory.mktemp(f'whole{ranks}')
            told = folder / 'moments'
            Run(forks, folder, *command, ranks=ranks, MOMENTS=str(told)).finish()
            texts = [Path(f'{told}.{rank}').read_text() for rank in range(ranks)]
            found[ranks] = folder / 'run', [text.splitlines() for text in texts]
        return found[ranks]

    return run


def draw(moments: list[list[str]], count: int, seed: object) -> list[tuple[int, int]]:
    """Draws moments, as many of each kind: which process, and which of its moments."""
    rng = random.Random(str(seed))
    kinds: dict[str | None, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
    for rank, own in enumerate(moments):
        for number, moment in enumerate(own):
            kinds[kind_of(moment)].append((rank, number))
    for found in kinds.values():
        rng.shuffle(found)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
    return list(itertools.islice(filter(None, turns), count))


@pytest.mark.slow
@pytest.mark.parametrize('ranks', [1, 2])
def test_killed_and_resumed_it_comes_to_the_same_end(ranks, whole, command, forks, tmp_path):
    expected, moments = whole(ranks)
    drawn = draw(moments, LONG or (3 if ranks == 1 else 1), f'{SEED} {ranks}')
    table = KillTable(ranks, len(drawn))
    try:
        for rank, number in drawn:
            moment = moments[rank][number]
            folder = tmp_path / f'{rank}_{number}'
            folder.mkdir()
            work = folder / 'run'
            codes = Run(forks, folder, *command, ranks=ranks, KILL=f'{rank} {number}').wait()
            told = f'process {rank} killed at {moment!r}, number {number}'
            assert codes[rank] == -signal.SIGKILL, told
            assert all(code == 1 for code in codes[:rank] + codes[rank + 1 :]), (told, codes)
            output = Run(forks, folder, *command, '--resume', ranks=ranks, KILL='none').finish()
            assert not unfinished(work), told
            same = same_weights(work / 'epoch_6.pth', expected / 'epoch_6.pth')
            line = table.add(rank, moment, output, winner(work) == winner(expected), same)
            if LONG:
                print(line, flush=True)
    finally:
        if LONG:
            table.keep()
    assert not table.failed, '\n\n'.join(table.failed)


@pytest.mark.slow
@pytest.mark.parametrize('ranks', [1, 2])
def test_sigterm_leaves_in_order_and_says_how_to_go_on(forks, command, tmp_path, whole, ranks):
    work = tmp_path / 'run'
    # With loader processes, which receive the scheduler's signal, too.
    workers = 'train_dataloader.num_workers=1', 'val_dataloader.num_workers=1'
    command = (*command, *(('--cfg-options', *workers) if ranks == 1 else ()))
    run = Run(forks, tmp_path, *command, ranks=ranks, KILL='none')
    assert run.when(lambda: scored(work) >= 3)
    run.send(signal.SIGTERM)
    assert run.wait(30) == [128 + signal.SIGTERM] * ranks, run.output()
    for rank in range(ranks):
        assert 'stopped by SIGTERM' in run.output(rank)
        assert '--resume' in run.output(rank)
        assert 'Traceback' not in run.output(rank)
    assert not unfinished(work)
    output = Run(forks, tmp_path, *command, '--resume', ranks=ranks, KILL='none').finish()
    assert 'scores of state.json of' in output
    if ranks == 2:  # loader processes draw other augmentations than the uninterrupted run
        assert winner(work) == winner(whole(ranks)[0])


@pytest.mark.slow
def test_a_second_run_is_refused_and_does_no_harm(forks, command, tmp_path):
    work = tmp_path / 'run'
    first = Run(forks, tmp_path, *command, KILL='none')
    try:
        assert first.when((work / 'epoch_1.pth').exists)
        first.send(signal.SIGSTOP)  # alive, but slow
        second = Run(forks, tmp_path, *command, '--resume', KILL='none')
        assert second.wait() == [1]
        assert 'error: Another run works in' in second.output()
        first.send(signal.SIGCONT)
        first.finish()
    finally:
        first.kill()


def test_moments_are_drawn_from_all_kinds():
    moments = [['exchange', 'step', 'drawn', 'open .state.json', 'measured', 'open .epoch_1.pth']]
    assert sorted(draw(moments, 6, 0)) == [(0, number) for number in range(6)]
    assert len({kind_of(moments[0][n]) for _, n in draw(moments * 2, 6, 1)}) == 6
    assert draw(moments * 2, 4, 1) == draw(moments * 2, 4, 1)


def test_each_kill_has_its_line():
    table = KillTable(2, 2)
    said = 'resumed epoch: 4, iter: 16 and 5 scores of state.json of 2026-01-01 00:00 still stand'
    line = table.add(1, 'os.rename state.json', said, winner=True, weights=True)
    assert line.startswith('1 of 2, 0 s left: | `state.json` half written')
    assert line.endswith('| process 1 | epoch 4, 5 scores | yes | yes |')
    assert not table.failed
    table.add(0, 'step', 'Nothing to resume', winner=True, weights=False)
    text = table.text()
    assert 'the same end after 1 of 2 kills' in text
    assert '| training step | process 0 | the beginning | yes | NO |' in text
    assert len(table.failed) == 1
