"""Adaptation, search and finetuning as command lines: kill -9, several processes, every task."""

import json
import os
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from sparse_mm.checkpoints import latest_checkpoint, read_checkpoint
from sparse_mm.engine.search.records import Records
from tests.conftest import ROOT
from tests.engine.search.toy import toy_config

TRAIN = str(ROOT / 'tools' / 'train.py')
SEARCH = str(ROOT / 'tools' / 'search.py')
ENVIRONMENT = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'toy.py'
    Config(toy_config(evaluations=30, population=10, parents=4)).dump(path)
    return path


def start(*command, cwd):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*command, cwd):
    process = start(*command, cwd=cwd)
    output, _ = process.communicate()
    assert process.returncode == 0, output[-3000:]
    return output


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp('whole')
    finish(TRAIN, config, '--work-dir', 'run', cwd=folder)
    return folder / 'run'


@pytest.mark.parametrize('last', ['', 'run/epoch_9.pth', None])
def test_a_kill_while_a_checkpoint_is_written_loses_nothing_before_it(tmp_path, last):
    torch.save(dict(state_dict=dict(a=torch.zeros(2))), tmp_path / 'epoch_2.pth')
    whole = (tmp_path / 'epoch_2.pth').read_bytes()
    (tmp_path / 'epoch_10.pth').write_bytes(whole[:-100])
    (tmp_path / 'best_bbox_epoch_11.pth').write_bytes(whole)
    if last is not None:
        (tmp_path / 'last_checkpoint').write_text(last)
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_2.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'best_bbox_epoch_11.pth'))
    assert latest_checkpoint(str(tmp_path)).endswith('best_bbox_epoch_11.pth')
    assert latest_checkpoint(str(tmp_path / 'elsewhere')) is None


@pytest.mark.slow
def test_killed_before_its_first_checkpoint_it_starts_anew_from_its_own_weights(
    call_tool, tmp_path
):
    cfg = toy_config()
    cfg.update(custom_hooks=[], load_from='start.pth')
    cfg['train_cfg'].update(max_epochs=1)
    torch.save(dict(state_dict=MODELS.build(cfg['model']).state_dict()), tmp_path / 'start.pth')
    Config(cfg).dump(tmp_path / 'toy.py')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'epoch_1.pth').write_bytes(b'half')
    log = call_tool('train.py', 'toy.py', '--work-dir', 'run', '--resume')
    assert 'Nothing to resume in run' in log
    assert 'Load checkpoint from start.pth' in log
    assert read_checkpoint(str(tmp_path / 'run' / 'epoch_1.pth'))['meta']['epoch'] == 1


@pytest.mark.slow
@pytest.mark.parametrize('metric', ['toy/likelihood', 'loss'])
def test_a_surrogate_finds_the_same_with_two_processes_and_after_a_kill(
    trained, config, tmp_path, metric
):
    common = config, trained / 'epoch_4.pth', '--budget', 'macs=0.7', 'macs=0.5', '--work-dir'
    how = '--strategy', 'surrogate', '--metric', metric
    finish(SEARCH, *common, 'one', *how, cwd=tmp_path)
    launch = '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone'
    finish(*launch, SEARCH, *common, 'two', *how, '--launcher', 'pytorch', cwd=tmp_path)
    states = [tmp_path / name / 'sparsity_search' / 'state.json' for name in ('one', 'two')]
    one, two = (json.loads(path.read_text())['records'] for path in states)
    assert one == two
    # The second budget's choices follow from the first one's scores as well: with one of them
    # gone, as after a kill, the same is found again.
    records = Records(states[0], json.loads(states[0].read_text())['identity'], print)
    records.load()
    del records.all[len(one) // 2 :]
    records.save()
    output = finish(SEARCH, *common, 'one', *how, cwd=tmp_path)
    assert f'{len(one) // 2} of {len(one)} scores taken from' in output
    assert json.loads(states[0].read_text())['records'] == one
    # Its finalists were scored on more images than the 6 of a score.
    assert {r['num_images'] for r in one if r['role'] == 'final'} == {10}


@pytest.mark.slow
def test_two_processes_find_the_same_winner(trained, config, tmp_path):
    common = config, trained / 'epoch_4.pth', '--budget', 'macs=0.7', 'macs=0.5', '--work-dir'
    output = finish(SEARCH, *common, 'one', cwd=tmp_path)
    assert 'at most 0.7 of the dense MACs: toy/likelihood' in output
    launch = '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone'
    finish(*launch, SEARCH, *common, 'two', '--launcher', 'pytorch', cwd=tmp_path)
    folders = [tmp_path / name / 'sparsity_search' for name in ('one', 'two')]
    one, two = (json.loads((folder / 'state.json').read_text()) for folder in folders)
    assert one['records'] == two['records']
    for name in ('best.json', 'best_macs-0.7.json', 'best_macs-0.5.json', 'pareto.png'):
        for folder in folders:
            assert (folder / name).is_file()
    # One winner for each budget; the first is the one to finetune.
    first, second = (
        json.loads((folders[0] / f'best_macs-{budget}.json').read_text()) for budget in (0.7, 0.5)
    )
    assert second['macs'] <= 0.5 < first['macs'] <= 0.7
    assert json.loads((folders[0] / 'best.json').read_text()) == first
    # The same command again computes nothing; a different one starts again, and says why.
    before = (folders[0] / 'state.json').read_bytes()
    count = len(one['records'])
    output = finish(SEARCH, *common, 'one', cwd=tmp_path)
    assert f'{count} of {count} scores taken from state.json of 20' in output
    assert (folders[0] / 'state.json').read_bytes() == before
    options = '--choices', '0', '0.7', '--evaluations', '2', '--population', '2'
    output = finish(SEARCH, *common, 'one', *options, cwd=tmp_path)
    assert 'is of a search with another choices' in output
    assert 'evolution.evaluations (30 then, 2 now)' in output
    assert (folders[0] / 'state.json.earlier').read_bytes() == before
    assert (folders[0] / 'best_macs-0.5.json.earlier').is_file()
