"""Noise of other packages is dropped; warnings and later logs are not."""

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import Sequential
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from sparse_mm.engine.quiet import build_quiet_runner, init_weights_quietly, without_prints
from tests.engine.search.toy import toy_config


def test_prints_are_dropped_and_warnings_are_shown(capsys):
    logger = MMLogger.get_instance('quiet', log_level='INFO')
    with without_prints():
        print('creating index...')
        logger.warning('a label is missing')
    logger.info('done')
    out = capsys.readouterr().out
    assert 'creating' not in out
    assert 'a label is missing' in out and 'done' in out


def test_a_logger_that_is_made_within_is_shown_afterwards(capsys, monkeypatch):
    monkeypatch.setattr(MMLogger, '_instance_dict', type(MMLogger._instance_dict)())
    with without_prints():
        MMLogger.get_current_instance()
    MMLogger.get_current_instance().warning('a late one')
    assert 'a late one' in capsys.readouterr().out


def test_a_runner_does_not_log_its_environment(tmp_path, capsys):
    cfg = Config({**toy_config(), 'work_dir': str(tmp_path), 'launcher': 'none'})
    runner = build_quiet_runner(cfg)
    said = capsys.readouterr().out
    assert 'System environment' not in said and 'Hooks will be executed' not in said
    runner.logger.info('scores follow')
    assert 'scores follow' in capsys.readouterr().out
    (log,) = tmp_path.glob('*/*.log')  # nothing is lost
    for line in ('System environment', 'Config:', 'Hooks will be executed', 'scores follow'):
        assert line in log.read_text()


@RUNNERS.register_module()
class OwnRunner(Runner):
    pass


def test_a_quiet_runner_is_of_the_configs_class(tmp_path):
    cfg = Config({**toy_config(), 'work_dir': str(tmp_path), 'launcher': 'none'})
    cfg.runner_type = 'OwnRunner'
    assert isinstance(build_quiet_runner(cfg), OwnRunner)


def test_weights_start_without_a_line_for_each(capsys, monkeypatch):
    monkeypatch.setattr(MMLogger, '_instance_dict', type(MMLogger._instance_dict)())
    Sequential(nn.Linear(1, 1)).init_weights()
    assert '0.weight' in capsys.readouterr().out
    model = Sequential(nn.Linear(2, 1), init_cfg=dict(type='Constant', val=3.0, layer='Linear'))
    init_weights_quietly(model)
    assert model[0].weight.tolist() == [[3.0, 3.0]]
    assert capsys.readouterr().out == ''
    MMLogger.get_current_instance().info('scores follow')
    assert 'scores follow' in capsys.readouterr().out
