"""Slurm and MPI give ranks by environment variables of their own."""

import os
import socket

import pytest
import torch
from mmengine.config import Config

from sparse_mm.engine import processes
from sparse_mm.engine.processes import name_meeting_place, start_processes
from sparse_mm.errors import BadInputError

MPI = dict(
    OMPI_COMM_WORLD_RANK='0',
    OMPI_COMM_WORLD_LOCAL_RANK='0',
    OMPI_COMM_WORLD_SIZE='1',
    OMPI_COMM_WORLD_LOCAL_SIZE='1',
)
SLURM = dict(
    SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_LOCALID='0', SLURM_NODELIST='here', SLURM_NNODES='1'
)


@pytest.fixture
def environment(monkeypatch):
    def put(**values):
        for name in ('MASTER_ADDR', 'MASTER_PORT', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
            monkeypatch.setenv(name, '')  # so that it is put back afterwards
            monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(('launcher', 'own'), [('mpi', MPI), ('slurm', SLURM)])
def test_a_process_joins_its_group_without_a_gpu(launcher, own, environment, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip('with a GPU MMEngine joins the processes')
    with socket.socket() as door:
        door.bind(('127.0.0.1', 0))
        port = door.getsockname()[1]
    environment(**own, MASTER_PORT=str(port))
    monkeypatch.setattr(processes, 'set_multi_processing', lambda **settings: None)
    monkeypatch.setattr(processes.shutil, 'which', lambda name: None)
    env = dict(dist_cfg=dict(backend='gloo'))
    start_processes(Config(dict(launcher=launcher, env_cfg=env)))
    try:
        assert torch.distributed.get_world_size() == 1
        assert os.environ['LOCAL_RANK'] == '0'
        assert os.environ['MASTER_ADDR'] == '127.0.0.1'
    finally:
        torch.distributed.destroy_process_group()


def test_several_machines_need_the_name_of_the_first(environment, monkeypatch):
    monkeypatch.setattr(processes.shutil, 'which', lambda name: None)
    several = dict(MPI, OMPI_COMM_WORLD_SIZE='4', OMPI_COMM_WORLD_LOCAL_SIZE='2')
    for launcher, own in (('mpi', several), ('slurm', dict(SLURM, SLURM_NNODES='2'))):
        environment(**own)
        with pytest.raises(BadInputError, match=f'--launcher {launcher} needs MASTER_ADDR'):
            name_meeting_place(launcher, None)
        environment(**own, MASTER_ADDR='first')
        name_meeting_place(launcher, 1234)
        assert (os.environ['MASTER_ADDR'], os.environ['MASTER_PORT']) == ('first', '1234')
        assert os.environ['RANK'] == '0'
