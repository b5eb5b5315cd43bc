"""A generated config of each host, unedited: adapts, searches, finetunes by the command line."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT, require_configs_of
from tests.hosts.bases import BASES, write_data


@pytest.mark.slow
@pytest.mark.parametrize('host', BASES)
def test_the_generated_config_runs_as_it_is(host, tmp_path, run_tool):
    require_configs_of(host)
    base, hooks_before = BASES[host]
    (tmp_path / 'base.py').write_text(base)
    write_data(tmp_path, host)
    run_tool('make_sparse.py', 'base.py', '--out', 'sparse.py', '--budget', 'macs=0.9')
    search = f'custom_hooks.{hooks_before + 1}.'
    small = dict(evaluations=3, population=3, parents=1, finalists=1)
    if host != 'mmdet3d':  # whose metric needs the whole set, as the generated config says
        small['num_images'] = 2
    log = run_tool(
        *('train.py', 'sparse.py', '--work-dir', 'run', '--cfg-options'),
        *(f'{search}{name}={value}' for name, value in small.items()),
    )
    assert 'is finetuned from here on' in log.stdout
    best = json.loads((tmp_path / 'run' / 'sparsity_search' / 'best.json').read_text())
    assert max(max(stage) for stage in best['pruning_ratios']) > 0


@pytest.mark.slow
@pytest.mark.parametrize('host', BASES)
def test_no_parameter_is_unused(host, tmp_path, run_tool):
    """DDP without find_unused_parameters would end at one, whatever the ratios."""
    require_configs_of(host)
    (tmp_path / 'base.py').write_text(BASES[host][0])
    write_data(tmp_path, host)
    run_tool('make_sparse.py', 'base.py', '--out', 'sparse.py', '--budget', 'macs=0.9')
    assert unused_parameters(tmp_path, host) == []


def unused_parameters(folder, host):
    """Trains a step at mixed ratios; returns the parameters without a gradient."""
    code = f"""
import os
os.chdir({str(folder)!r})
from mmengine.registry import DATASETS
from mmengine.dataset import pseudo_collate, default_collate
from mmengine.optim import OptimWrapper
from torch.optim import SGD
from sparse_mm.engine.config_file import read_config
from sparse_mm.engine.inspection import build_model, find_backbone
cfg = read_config('sparse.py')
model = build_model(cfg).train()
find_backbone(model).set_pruning_ratios([0.5, 0.3, 0.2, 0.0])
data = DATASETS.build(cfg.train_dataloader.dataset)
collate = default_collate if {host!r} == 'mmpretrain' else pseudo_collate
batch = model.data_preprocessor(collate([data[0], data[1]]), True)
loss, _ = model.parse_losses(model._run_forward(batch, mode='loss'))
loss.backward()
names = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
print('UNUSED', names)
"""
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return eval(done.stdout.rpartition('UNUSED')[2])
