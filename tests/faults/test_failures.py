"""Failures during a run: one sentence, nothing lost, no process left waiting."""

import contextlib
import json
import re
import signal
import subprocess
import sys

import pytest
from mmengine.config import Config

from tests.engine.search.toy import toy_config
from tests.faults.runs import ENVIRONMENT, TRAIN, Run, scored, winner


def broken_config(folder, **search):
    cfg = toy_config(**{**dict(evaluations=6, population=3, finalists=0), **search})
    cfg['custom_imports']['imports'].append('tests.faults.broken')
    cfg['val_evaluator'] = dict(type='BrokenMetric')
    cfg['val_dataloader']['dataset']['type'] = 'BrokenPictures'
    cfg['custom_hooks'] += [dict(type='BrokenRun')]
    cfg['train_cfg'].update(val_interval=100)
    cfg['default_hooks']['checkpoint'].update(save_best=None)
    (folder / 'pictures').mkdir()
    for index in range(10):
        (folder / 'pictures' / f'{index}.jpg').touch()
    Config(cfg).dump(folder / 'toy.py')
    return TRAIN, 'toy.py', '--work-dir', 'run'


@pytest.mark.slow
@pytest.mark.parametrize(
    ('ranks', 'fault', 'sentence'),
    [
        (1, 'evaluator', 'ValueError: the evaluator is broken'),
        (1, 'image', r"error: The validation image 'pictures/3.jpg' cannot be read \(Truncated"),
        (1, 'nan', r'error: There is no winner: none of the \d+ settings .* finite toy/likelihood'),
        (1, 'loss', r'error: The training has diverged: its losses are NaN or infinite'),
        (2, 'evaluator 1', 'ValueError: the evaluator is broken'),
        (2, 'image 1', r"error: The validation image 'pictures/3.jpg' cannot be read"),
        (2, 'loss', r'error: The training has diverged: its losses are NaN or infinite'),
    ],
)
def test_a_failure_ends_all_processes_with_its_message(forks, tmp_path, ranks, fault, sentence):
    command = broken_config(tmp_path)
    run = Run(forks, tmp_path, *command, ranks=ranks, FAULT=fault)
    assert run.wait(60) == [1] * ranks
    for rank in range(ranks):  # each says it, because a user may see only one of them
        if fault == 'loss' and rank == 1:  # rank 0 saves, and the store ends with it
            sentence = 'error: (Another process of this run has ended|The training has diverged)'
        assert re.search(sentence, run.output(rank)), run.output(rank)[-3000:]
    if fault == 'evaluator 1':
        assert 'error: Process 1 failed with ValueError: the evaluator' in run.output(0)
        assert 'Traceback' not in run.output(0)
    for path in (tmp_path / 'run' / 'sparsity_search').rglob('*.json'):
        json.loads(path.read_text(), parse_constant=pytest.fail)
    if fault.startswith('evaluator'):  # earlier scores are kept, and the run continues
        before = scored(tmp_path / 'run')
        output = Run(forks, tmp_path, *command, '--resume', ranks=ranks).finish()
        assert f'{before} scores of state.json of' in output
        assert scored(tmp_path / 'run') == 8


@pytest.mark.slow
def test_a_candidate_without_memory_is_marked_and_the_search_continues(forks, tmp_path):
    output = Run(forks, tmp_path, *broken_config(tmp_path), FAULT='memory').finish()
    assert 'has no score: out of memory' in output
    state = json.loads((tmp_path / 'run/sparsity_search/state.json').read_text())
    failures = [record['failure'] for record in state['records']]
    assert failures.count('out of memory') == 1
    assert failures.count('') == len(failures) - 1
    assert winner(tmp_path / 'run')['score'] is not None


@pytest.mark.slow
def test_a_run_that_ends_before_its_search_says_so(forks, tmp_path):
    output = Run(forks, tmp_path, *broken_config(tmp_path), FAULT='stop').finish()
    assert 'The run ended at epoch 3, before its search at epoch 4' in output


def mount(*command):
    """Mounts something small; skips the test where that is not allowed."""
    done = subprocess.run(['mount', *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f'needs the right to mount: {done.stderr.strip()}')


@pytest.fixture
def disk(tmp_path):
    """A file system of 1.5 MB, of its own."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount('-t', 'tmpfs', '-o', 'size=1500000', 'tmpfs', folder)
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ['umount', '-l', str(folder)], check=True)
        yield folder


@pytest.mark.slow
def test_a_full_disk_loses_nothing(forks, tmp_path, disk):
    tool, config, *_ = broken_config(tmp_path)
    command = tool, config, '--work-dir', 'disk/run'
    run = Run(forks, tmp_path, *command, FAULT='full', BALLAST='800000')
    assert run.wait(60) == [1]
    assert re.search(r'error: .* cannot be written \(No space left on device\)', run.output())
    assert (disk / 'run' / 'epoch_1.pth').is_file()
    (disk / 'ballast').unlink()
    mount('-o', 'remount,size=50m', disk)
    Run(forks, tmp_path, *command, '--resume').finish()
    assert (disk / 'run' / 'epoch_6.pth').is_file()


@pytest.mark.slow
def test_a_work_dir_that_becomes_read_only_loses_nothing(forks, tmp_path, disk):
    mount('-o', 'remount,size=50m', disk)
    tool, config, *_ = broken_config(tmp_path)
    command = tool, config, '--work-dir', 'disk/run'
    run = Run(forks, tmp_path, *command)
    assert run.when((disk / 'run' / 'epoch_2.pth').is_file)
    run.send(signal.SIGSTOP)
    mount('--bind', disk / 'run', disk / 'run')
    try:
        mount('-o', 'remount,bind,ro', disk / 'run')
        run.send(signal.SIGCONT)
        assert run.wait(60) == [1]
        assert re.search(r'error: .* cannot be written \(Read-only file system\)', run.output())
        assert 'Traceback' not in run.output()
        refused = Run(forks, tmp_path, *command, '--resume')
        assert refused.wait(60) == [1]
        assert 'Read-only file system' in refused.output()
        assert 'Traceback' not in refused.output()
    finally:
        subprocess.run(['umount', '-l', str(disk / 'run')], check=True)
    assert (disk / 'run' / 'epoch_2.pth').is_file()
    Run(forks, tmp_path, *command, '--resume').finish()
    assert (disk / 'run' / 'epoch_6.pth').is_file()


def launch(folder, *command, seconds, **env):
    """Runs a command under ``torchrun``; one that hangs is told to end its processes."""
    elastic = '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'
    with subprocess.Popen(
        [sys.executable, *elastic, *map(str, command), '--launcher', 'pytorch'],
        cwd=folder,
        env={**ENVIRONMENT, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as launched:
        try:
            output, _ = launched.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            launched.terminate()
            output, _ = launched.communicate(timeout=60)
            pytest.fail(f'not done after {seconds} s: {output[-6000:]}')
    assert launched.returncode == 0, output[-6000:]
    return output


@pytest.mark.slow
def test_elastic_launch_continues_by_itself(tmp_path):
    """``torchrun --max-restarts`` starts all processes again; ``--resume`` does the rest."""
    tool, *options = broken_config(tmp_path)
    restarts = '--max-restarts=2', '--monitor-interval=0.1'
    command = *restarts, tool, *options, '--resume'
    output = launch(tmp_path, *command, seconds=150, FAULT='killed once 1')
    assert (tmp_path / 'killed').is_file()
    assert output.count('Nothing to resume in run') == 1
    assert re.search(r'resumed epoch: 4', output)
    assert re.search(r'scores? of state.json of', output)
    assert (tmp_path / 'run' / 'epoch_6.pth').is_file()
