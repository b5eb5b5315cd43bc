"""Commands end cleanly, and a run's config says all that runs."""

import argparse
import re
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

from sparse_mm.engine import command_line, hooks
from sparse_mm.engine.command_line import (
    Override,
    add_hooks,
    build_runner,
    expand_arguments,
    run,
)
from sparse_mm.engine.hooks import CheckDataHook, StepSeedHook
from sparse_mm.errors import BadInputError


def test_bad_input_is_one_sentence():
    def main():
        raise BadInputError('No.')

    with pytest.raises(SystemExit, match='error: No'):
        run(main)


@MODELS.register_module()
class CommandLineToy(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.weight


def runner_of(tmp_path, **settings):
    model = dict(type='CommandLineToy')
    return build_runner(
        Config(
            dict(
                model=model,
                work_dir=str(tmp_path),
                launcher='none',
                experiment_name=tmp_path.name,  # MMEngine keeps what it builds by this name
                **settings,
            )
        )
    )


def test_the_dumped_config_lists_the_hooks_that_ran(tmp_path):
    runner = runner_of(tmp_path)
    runner.dump_config()
    (path,) = tmp_path.glob('*/vis_data/config.py')
    dumped = Config.fromfile(path)
    listed = [hook.type for hook in dumped.custom_hooks]
    assert listed[:2] == ['CheckDataHook', 'StepSeedHook']
    ran = [type(hook).__name__ for hook in runner.hooks]
    assert sorted(name for name in ran if hasattr(hooks, name)) == sorted(listed)
    assert dumped.custom_imports.imports == ['sparse_mm']
    for kind in (CheckDataHook, StepSeedHook):
        assert sum(isinstance(hook, kind) for hook in runner.hooks) == 1


def test_a_users_own_settings_of_these_hooks_stay(tmp_path):
    own = [dict(type='mmengine.StepSeedHook'), dict(type='CheckDataHook', num_images=3)]
    runner = runner_of(tmp_path, custom_hooks=own, custom_imports=dict(imports='sparse_mm'))
    found = [hook for hook in runner.hooks if isinstance(hook, (CheckDataHook, StepSeedHook))]
    assert len(found) == 2
    assert found[1].num_images == 3
    cfg = Config(dict(custom_hooks=[dict(type=CheckDataHook), StepSeedHook()]))
    add_hooks(cfg)
    assert len(cfg.custom_hooks) == 2


@pytest.mark.parametrize('given', ['=3', 'a..b=3', '.a=3', 'a=[1,2', 'a=[(1,2]', 'a={b: 1, c: 2}'])
def test_overrides_that_cannot_be_read(given, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Override)
    assert parser.parse_args(['--cfg-options', 'a.b=[1,(2,x)]', 'c=']).cfg_options['c'] == ''
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', given])
    assert re.search(
        'is not key=value|brackets of .* do not match|cannot be given a dict',
        capsys.readouterr().err,
    )


def test_folders_are_put_into_a_command_line_where_shells_leave_them(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    monkeypatch.setenv('RUNS', '/runs')
    kept = ['key=~/e', '$1', '--~/f']
    given = ['~/a.py', '--out=~/b c', '--work-dir', '$RUNS/d', '--x=$RUNS', *kept]
    expected = ['/home/me/a.py', '--out=/home/me/b c', '--work-dir', '/runs/d', '--x=/runs']
    assert expand_arguments(given) == [*expected, *kept]
    seen = []
    monkeypatch.setattr(sys, 'argv', ['tool.py', '~/a.py'])
    run(lambda: seen.extend(sys.argv))
    assert seen == ['tool.py', '/home/me/a.py']


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/my data/photos', '/my data/photos'),
        ('"/my data/photos"', '/my data/photos'),
        ('[1, 2]', [1, 2]),
        ('0.5', 0.5),
        ('a, b', ['a', 'b']),
        (' 3 ', 3),
    ],
)
def test_a_path_in_the_overrides_keeps_its_spaces(text, value):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Override)
    assert parser.parse_args(['--cfg-options', f'a.b={text}']).cfg_options == {'a.b': value}


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        ({}, dict(find_unused_parameters=False, broadcast_buffers=False)),
        (dict(find_unused_parameters=True), dict(find_unused_parameters=True)),
        (dict(model_wrapper_cfg=None), dict(type='MMDistributedDataParallel')),
        (
            dict(model_wrapper_cfg=dict(type='Own', device_ids=[1])),
            dict(type='Own', device_ids=[1]),
        ),
    ],
)
def test_several_processes_on_cpus_keep_the_settings_of_the_wrapper(
    settings, expected, monkeypatch
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(command_line, 'start_processes', lambda cfg: None)
    monkeypatch.setattr(command_line.Runner, 'from_cfg', lambda cfg: cfg)
    wrapper = command_line.build_runner(Config(dict(launcher='pytorch', **settings)))
    wrapper = wrapper.model_wrapper_cfg
    assert {name: wrapper[name] for name in expected} == expected
    assert 'device_ids' in wrapper
