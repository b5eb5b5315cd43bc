"""Without CUDA, everything that needs it is reported, whether named or given as a class."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn

from sparse_mm.engine.checks import check_device, check_device_name

NEEDS_CUDA = {
    'AmpOptimWrapper': dict(optim_wrapper=dict(type='AmpOptimWrapper')),
    'mixed precision': dict(optim_wrapper=dict(type=AmpOptimWrapper)),
    'Amp': dict(
        optim_wrapper=dict(
            constructor='Several', one=dict(type='OptimWrapper'), two=dict(type='AmpOptimWrapper')
        )
    ),
    'dist_cfg.backend=gloo': dict(launcher='pytorch', env_cfg=dict(dist_cfg=dict(backend='nccl'))),
    "device 'cuda:0'": dict(device='cuda:0'),
    'SyncBN': dict(launcher='mpi', model=dict(neck=dict(norm_cfg=dict(type='SyncBN')))),
    'uses SyncBN': dict(
        launcher='mpi', model=dict(heads=[dict(norm_cfg=dict(type=nn.SyncBatchNorm))])
    ),
}
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')


@pytest.mark.parametrize('sentence', NEEDS_CUDA)
def test_cuda_is_required(sentence):
    (problem,) = check_device(Config(NEEDS_CUDA[sentence]))
    assert 'torch sees n' in problem
    assert sentence in problem


def test_all_settings_that_need_cuda_are_reported():
    both = {**NEEDS_CUDA['AmpOptimWrapper'], **NEEDS_CUDA['SyncBN']}
    assert len(check_device(Config(both))) == 2


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'mmengine.OptimWrapper', OptimWrapper])
def test_what_a_cpu_can_do(wrapper):
    cfg = Config(dict(optim_wrapper=dict(type=wrapper), model=dict(norm_cfg=dict(type='BN'))))
    assert check_device(cfg) == []
    # In a single process MMEngine replaces SyncBN by BN.
    assert check_device(Config(dict(model=dict(norm_cfg=dict(type='SyncBN'))))) == []


def test_a_device_by_name():
    assert check_device_name('cpu') == []
    assert 'sees no such device' in check_device_name('cuda:1')[0]
    assert 'must be cpu or cuda' in check_device_name('tpu')[0]
