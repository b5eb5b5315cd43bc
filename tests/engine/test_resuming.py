"""Where a resumed run continues, and what it never uses or overwrites."""

import errno
import json
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine import work_dir
from sparse_mm.engine.checks import check_no_earlier_run
from sparse_mm.engine.file_backend import WholeFilesBackend
from sparse_mm.engine.resuming import (
    checkpoint_folder,
    find_resume_point,
    write_whole_checkpoints,
)
from sparse_mm.engine.work_dir import LOCK, WorkDirLock
from sparse_mm.errors import BadInputError
from tests.engine.search.toy import toy_config


@pytest.fixture
def whole(tmp_path):
    torch.save(dict(state_dict=dict(a=torch.zeros(2))), tmp_path / 'whole')
    content = (tmp_path / 'whole').read_bytes()
    (tmp_path / 'whole').unlink()
    return content


def test_a_damaged_checkpoint_is_renamed_and_reported(tmp_path, whole):
    (tmp_path / 'epoch_1.pth').write_bytes(whole)
    for name in ('epoch_2.pth.damaged', 'epoch_2.pth'):
        (tmp_path / name).write_bytes(whole[:50])
    found, said = find_resume_point(str(tmp_path), tmp_path)
    assert found == str(tmp_path / 'epoch_1.pth')
    assert 'epoch_2.pth is truncated' in said[0]
    assert 'epoch_2.pth.damaged-2' in said[0]
    assert 'goes on from' in said[1]
    assert (tmp_path / 'epoch_2.pth.damaged-2').read_bytes() == whole[:50]
    assert not (tmp_path / 'epoch_2.pth').exists()


def test_killed_before_its_first_checkpoint_was_whole(tmp_path):
    (tmp_path / 'epoch_1.pth').write_bytes(b'half')
    found, said = find_resume_point(str(tmp_path), tmp_path)
    assert found is None
    assert 'starts at its beginning' in said[-1]
    assert (tmp_path / 'epoch_1.pth.damaged').read_bytes() == b'half'


def test_one_checkpoint_is_whole_at_any_moment(tmp_path, whole):
    """MMEngine removes the old one, then writes the new one: a kill comes between."""
    backend = WholeFilesBackend()
    backend.put(whole, tmp_path / 'epoch_1.pth')
    backend.remove(str(tmp_path / 'epoch_1.pth'))
    (tmp_path / '.epoch_2.pth.123').write_bytes(b'half')
    found, said = find_resume_point(str(tmp_path), tmp_path)
    assert found == str(tmp_path / 'epoch_1.pth')
    assert 'it is back' in said[0]
    assert not (tmp_path / '.epoch_2.pth.123').exists()
    backend.remove(tmp_path / 'epoch_1.pth')
    backend.put(whole, tmp_path / 'epoch_2.pth')
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_2.pth']


def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(tmp_path, whole, monkeypatch):
    backend = WholeFilesBackend()
    backend.put(whole, tmp_path / 'epoch_1.pth')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(BadInputError, match=r'No space left on device.*--resume'):
        backend.put(whole * 2, tmp_path / 'epoch_1.pth')
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']
    assert (tmp_path / 'epoch_1.pth').read_bytes() == whole


def test_the_hook_of_the_config_writes_by_it_unless_it_has_a_storage():
    cfg = Config(toy_config())
    write_whole_checkpoints(cfg)
    assert HOOKS.build(cfg.default_hooks.checkpoint).backend_args == dict(backend='whole_files')
    cfg.default_hooks.checkpoint.backend_args = dict(backend='petrel')
    write_whole_checkpoints(cfg)
    assert cfg.default_hooks.checkpoint.backend_args == dict(backend='petrel')


def test_checkpoints_in_a_folder_of_their_own(tmp_path, whole):
    cfg = Config(dict(work_dir=str(tmp_path / 'run'), default_hooks=dict(checkpoint=dict())))
    assert checkpoint_folder(cfg) == tmp_path / 'run'
    for elsewhere in 's3://bucket/run', str(tmp_path / 'run'):
        cfg.default_hooks.checkpoint.out_dir = elsewhere
        assert checkpoint_folder(cfg) == tmp_path / 'run'
    cfg.default_hooks.checkpoint.out_dir = str(tmp_path / 'all')
    folder = checkpoint_folder(cfg)
    assert folder == tmp_path / 'all' / 'run'
    (tmp_path / 'run').mkdir()
    assert check_no_earlier_run(cfg.work_dir, folder) == []
    backend = WholeFilesBackend()
    backend.put(whole, folder / 'epoch_1.pth')
    (problem,) = check_no_earlier_run(cfg.work_dir, folder)
    assert (
        f'folder of the checkpoints {str(folder)!r} holds an earlier run (epoch_1.pth)' in problem
    )
    # Killed after the first was removed, before the second is there.
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    backend.remove(folder / 'epoch_1.pth')
    found, said = find_resume_point(cfg.work_dir, folder)
    assert found == str(folder / 'epoch_1.pth')
    assert 'it is back' in said[0]
    # Killed before the second was named.
    backend.put(whole, folder / 'epoch_2.pth')
    assert find_resume_point(cfg.work_dir, folder)[0] == str(folder / 'epoch_2.pth')


HOLD = """
import sys, time
from sparse_mm.engine.work_dir import WorkDirLock
lock = WorkDirLock(sys.argv[1])
lock.acquire()
print('held', flush=True)
time.sleep(60)
"""


def test_a_second_run_is_refused_while_the_first_lives(tmp_path):
    first = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout.readline() == 'held\n'
        with pytest.raises(BadInputError, match=f'Another run works in .*process {first.pid} on'):
            WorkDirLock(str(tmp_path)).acquire()
    finally:
        first.kill()
        first.wait()
    # The lock of a killed run does not hold.
    assert json.loads((tmp_path / LOCK).read_text())['process'] == first.pid
    lock = WorkDirLock(str(tmp_path))
    assert lock.acquire() is None
    lock.release()


def test_a_file_system_without_locks_is_reported_and_the_run_continues(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(work_dir.fcntl, 'lockf', refuse)
    said = WorkDirLock(str(tmp_path)).acquire()
    assert 'has no locks (No locks available): see to it that no second run uses it' in said


def test_a_lock_of_another_user(tmp_path, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(work_dir, 'open', refuse, raising=False)
    with pytest.raises(BadInputError, match=r'cannot be written \(Permission denied\); see to its'):
        WorkDirLock(str(tmp_path)).acquire()


def spoil(checkpoint, how):
    if how == 'weights alone':
        for name in set(checkpoint) - {'state_dict'}:
            del checkpoint[name]
    elif how == 'meta':
        checkpoint['meta'] = [1]
    elif how == 'optimizer':
        checkpoint['optimizer'] = torch.optim.SGD(
            [torch.zeros(1) for _ in checkpoint['optimizer']['state']], lr=1.0
        ).state_dict()
    elif how == 'groups':
        checkpoint['optimizer']['param_groups'][0]['params'].pop()
    elif how == 'schedule':
        checkpoint['param_schedulers'][0].pop('T_max')
    elif how == 'schedules':
        checkpoint['param_schedulers'] *= 2


@pytest.mark.slow
def test_checkpoints_of_other_runs_are_refused(tmp_path, call_tool, refusal):
    cfg = toy_config()
    cfg.update(custom_hooks=[])
    cfg['train_cfg'].update(max_epochs=1)
    Config(cfg).dump(tmp_path / 'toy.py')
    call_tool('train.py', 'toy.py', '--work-dir', 'run')
    before = (tmp_path / 'run/epoch_1.pth').read_bytes()
    for how, sentence in (
        ('weights alone', 'holds weights without the state of a run'),
        ('meta', 'holds weights without the state of a run'),
        ('optimizer', 'its optimizer has no betas, which AdamW has'),
        ('groups', r'parameters in 1 groups, this one'),
        ('schedule', 'its parameter scheduler has no T_max'),
        ('schedules', 'it has 2 parameter schedulers, this config 1'),
    ):
        checkpoint = read_checkpoint(str(tmp_path / 'run/epoch_1.pth'))
        spoil(checkpoint, how)
        torch.save(checkpoint, tmp_path / 'spoiled.pth')
        message = refusal('train.py', 'toy.py', '--work-dir', 'run', '--resume', 'spoiled.pth')
        assert sentence in message, how
    assert (tmp_path / 'run/epoch_1.pth').read_bytes() == before
