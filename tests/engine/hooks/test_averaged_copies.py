"""Averaged copies (EMA) have the ratios of the model, for any order of the hooks."""

import json

import pytest
import torch
from mmengine.config import Config

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.command_line import build_runner
from tests.engine.search.toy import ToyClassifier, toy_config

KEY = 'inner.body.saved_ratios'


def train(work_dir, ema, first, **options):
    settings = toy_config(evaluations=2, population=2, parents=1, finalists=0)
    others = [hook for hook in settings['custom_hooks'] if hook['type'] != 'EMAHook']
    settings['custom_hooks'] = [ema, *others] if first else [*others, ema]
    cfg = Config({**settings, **options})
    cfg.work_dir, cfg.launcher, cfg.log_level = str(work_dir), 'none', 'WARNING'
    cfg.experiment_name = f'averaged_{abs(hash(str(work_dir)))}'
    build_runner(cfg).train()


@pytest.mark.parametrize('update_buffers', [False, True])
@pytest.mark.parametrize(
    ('priority', 'first'), [('ABOVE_NORMAL', True), ('VERY_HIGH', False), ('LOWEST', False)]
)
def test_a_winner_reaches_them(tmp_path, priority, first, update_buffers):
    ema = dict(
        type='EMAHook',
        momentum=0.01,
        priority=priority,
        update_buffers=update_buffers,
        begin_epoch=1,
    )
    train(tmp_path, ema, first)
    winner = json.loads((tmp_path / 'sparsity_search' / 'best.json').read_text())['pruning_ratios']
    for epoch in (3, 4, 6):  # adapting, adapted, finetuned
        saved = read_checkpoint(str(tmp_path / f'epoch_{epoch}.pth'))
        own, averaged = saved['ema_state_dict'][f'module.{KEY}'], saved['state_dict'][KEY]
        assert torch.equal(own, averaged)
        model = ToyClassifier()
        model.load_state_dict(saved['state_dict'])
        found = model.inner['body'].pruning_ratios
        if epoch < 6:  # no drawn ratios are saved
            assert found == [[0.0] * 2, [0.0] * 4]
        else:
            assert [stage[::2] for stage in found] == winner
    # A sparse checkpoint to start from, with an average again.
    train(
        tmp_path / 'again',
        ema,
        first,
        load_from=str(tmp_path / 'epoch_6.pth'),
        custom_hooks=[ema],
        train_cfg=dict(by_epoch=True, max_epochs=1),
    )
    saved = read_checkpoint(str(tmp_path / 'again' / 'epoch_1.pth'))
    assert torch.equal(saved['state_dict'][KEY], averaged)
    assert torch.equal(saved['ema_state_dict'][f'module.{KEY}'], averaged)
