"""What fails on the way: one sentence, nothing lost, no process left waiting."""

import json
import re
import subprocess

import pytest
from mmengine.config import Config

from tests.engine.search.toy import toy_config
from tests.faults.runs import TRAIN, Run, winner


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
@pytest.mark.parametrize('ranks', [1])
@pytest.mark.parametrize(
    ('fault', 'sentence'),
    [
        ('evaluator', 'ValueError: the evaluator is broken'),
        ('image', r"error: The validation image 'pictures/3.jpg' cannot be read \(Truncated JPEG"),
        ('nan', r'error: There is no winner: none of the \d+ settings .* finite toy/likelihood'),
        ('loss', r'error: The training has diverged: its losses are NaN or infinite'),
    ],
)
def test_a_failure_ends_all_processes_with_its_message(tmp_path, fault, sentence, ranks):
    command = broken_config(tmp_path, image_size=(48, 48))
    rank = '' if ranks == 1 or fault in ('nan', 'loss', 'image') else ' 1'
    run = Run(tmp_path, *command, ranks=ranks, port=29652, FAULT=fault + rank)
    assert run.wait(120) != 0
    output = run.output()
    assert re.search(sentence, output), output[-3000:]
    if rank:
        assert 'error: Process 1 failed with ValueError: the evaluator is broken' in output
    for path in (tmp_path / 'run' / 'sparsity_search').rglob('*.json'):
        json.loads(path.read_text(), parse_constant=pytest.fail)


@pytest.mark.slow
def test_a_candidate_without_memory_is_marked_and_the_search_goes_on(tmp_path):
    output = Run(tmp_path, *broken_config(tmp_path), FAULT='memory').finish()
    assert 'has no score: out of memory' in output
    state = json.loads((tmp_path / 'run/sparsity_search/state.json').read_text())
    failures = [record['failure'] for record in state['records']]
    assert failures.count('out of memory') == 1
    assert failures.count('') == len(failures) - 1
    assert winner(tmp_path / 'run')['score'] is not None


@pytest.mark.slow
def test_a_run_that_ends_before_its_search_says_so(tmp_path):
    output = Run(tmp_path, *broken_config(tmp_path), FAULT='stop').finish()
    assert 'The run ended at epoch 3, before its search at epoch 4' in output


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    size = 1_500_000
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip('needs the right to mount a small tmpfs')
    try:
        tool, config, *_ = broken_config(tmp_path)
        command = tool, config, '--work-dir', 'disk/run'
        run = Run(tmp_path, *command, FAULT='full', BALLAST=str(size - 700_000))
        assert run.wait(120) == 1
        assert re.search(r'error: .* cannot be written \(No space left on device\)', run.output())
        kept = [path.name for path in (disk / 'run').glob('epoch_*.pth')]
        assert kept
        (disk / 'ballast').unlink()
        subprocess.run(['mount', '-o', 'remount,size=50m', str(disk)], check=True)
        Run(tmp_path, *command, '--resume').finish()
        assert (disk / 'run' / 'epoch_6.pth').is_file()
    finally:
        subprocess.run(['umount', '-l', str(disk)], check=True)


@pytest.mark.slow
def test_a_read_only_work_dir_is_refused_at_once(tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('needs the right to mount a read-only tmpfs')
    try:
        tool, config, *_ = broken_config(tmp_path)
        run = Run(tmp_path, tool, config, '--work-dir', 'disk/run')
        assert run.wait(60) == 1
        assert 'cannot be written (Read-only file system)' in run.output()
    finally:
        subprocess.run(['umount', '-l', str(disk)], check=True)
