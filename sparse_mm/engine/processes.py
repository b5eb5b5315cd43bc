"""Joins the processes of a launcher, and sends every machine the files that it needs."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import (
    broadcast_object_list,
    get_world_size,
    init_dist,
    is_distributed,
    is_main_process,
)
from mmengine.utils.dl_utils import set_multi_processing

from sparse_mm.engine.meeting import place_of_this_start
from sparse_mm.errors import BadInputError
from sparse_mm.ranks import on_every_process

CHUNK = 64 * 2**20  # bytes sent at once
MEETING_SECONDS = 1800  # torch's own patience, where the config names none
# What each launcher sets for its processes, and how it is called.
LAUNCHERS = {
    'pytorch': (('RANK', 'WORLD_SIZE', 'MASTER_ADDR'), '`torchrun --nproc_per_node N`'),
    'slurm': (('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'), '`srun`'),
    'mpi': (
        ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE'),
        '`mpirun`',
    ),
}
# What torch.distributed reads, and what these launchers call it.
OWN_NAMES = {
    'slurm': dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    'mpi': dict(
        RANK='OMPI_COMM_WORLD_RANK',
        WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
        LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}


def start_processes(cfg: Config) -> None:
    """Joins the processes that the config's launcher started; nothing to do without one.

    MMEngine would join them itself, while it builds the runner. Done before, all processes check
    what they were given together, and a machine that lacks something ends them all.

    Args:
        cfg: The run's config; ``env_cfg`` is read as MMEngine reads it.

    Raises:
        BadInputError: The launcher did not start this process, or not all processes join.
    """
    if cfg.get('launcher', 'none') == 'none' or is_distributed():
        return
    check_launcher(cfg.launcher)
    env = cfg.get('env_cfg') or {}
    settings = dict(env.get('dist_cfg') or {})
    name_meeting_place(cfg.launcher, settings.get('port'))
    set_multi_processing(**(env.get('mp_cfg') or {}), distributed=True)
    place: dict[str, Any] = {}
    if cfg.launcher == 'pytorch' and settings.get('init_backend', 'torch') == 'torch':
        place = place_of_this_start(settings.get('timeout') or MEETING_SECONDS)
    if not torch.cuda.is_available():
        # init_dist would pick a CUDA device for each process.
        torch.distributed.init_process_group(backend=settings.get('backend', 'gloo'), **place)
    else:
        init_dist(cfg.launcher, **settings, **place)


def check_launcher(launcher: str) -> None:
    """Checks that a process was started by the launcher that it is told of.

    Raises:
        BadInputError: It was not.
    """
    variables, command = LAUNCHERS.get(launcher, ((), ''))
    if any(name not in os.environ for name in variables):
        raise BadInputError(
            f'--launcher {launcher} needs {command} around the command, which sets '
            f'{", ".join(variables)}; leave --launcher out to run one process.'
        )


def name_meeting_place(launcher: str, port: int | None) -> None:
    """Writes into the environment where processes meet and who each is, as ``torchrun`` does.

    Slurm and MPI have names of their own for that; which machine is the first, Slurm knows and MPI
    does not.

    Args:
        launcher: Of the processes.
        port: Of the first machine, where the config names one.

    Raises:
        BadInputError: Several machines, and none is known to be the first.
    """
    if launcher not in OWN_NAMES:
        return
    for name, own in OWN_NAMES[launcher].items():
        if own in os.environ:
            os.environ[name] = os.environ[own]
    os.environ['MASTER_PORT'] = str(port or os.environ.get('MASTER_PORT') or 29500)
    if 'MASTER_ADDR' in os.environ:
        return
    if launcher == 'slurm' and shutil.which('scontrol'):
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        names = subprocess.run(command, capture_output=True, text=True).stdout.split()
        first = names[0] if names else ''
    elif launcher == 'slurm':
        first = '127.0.0.1' if os.environ.get('SLURM_NNODES') == '1' else ''
    else:
        here = os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE')
        first = '127.0.0.1' if here == os.environ['OMPI_COMM_WORLD_SIZE'] else ''
    if not first:
        raise BadInputError(
            f'--launcher {launcher} needs MASTER_ADDR, the name of the first machine, in the '
            'environment of every process (with mpirun: -x MASTER_ADDR=HOST).'
        )
    os.environ['MASTER_ADDR'] = first


def share_file(path: str) -> None:
    """Gives every machine rank 0's file of this name, if it has another one or none.

    Machines without a common disk have it only where it was written, on rank 0's.

    Args:
        path: The file; it exists on rank 0.

    Raises:
        BadInputError: It cannot be read there or written here.
    """
    if get_world_size() == 1 or '://' in path:
        return
    digests = on_every_process(lambda: _digest(path))
    if len(set(digests)) == 1:
        return
    lacks = _digest(path) != digests[0]
    target = Path(path)
    copy = target.with_name(f'.{target.name}.{os.getpid()}')
    size = on_every_process(lambda: os.path.getsize(path) if is_main_process() else 0)[0]
    error: OSError | None = None
    for start in range(0, size, CHUNK):
        piece = [_read(path, start) if is_main_process() else b'']
        broadcast_object_list(piece)
        if lacks and error is None:
            try:  # if one fails, the others continue to send and receive
                target.parent.mkdir(parents=True, exist_ok=True)
                with copy.open('ab') as file:
                    file.write(piece[0])
            except OSError as failure:
                error = failure

    def finish() -> None:
        if error is not None:
            raise BadInputError(f'{path!r} cannot be written on every machine ({error}).')
        if lacks:
            os.replace(copy, target)

    on_every_process(finish)


def _digest(path: str) -> str | None:
    if not os.path.isfile(path):
        return None
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _read(path: str, start: int) -> bytes:
    with open(path, 'rb') as file:
        file.seek(start)
        return file.read(CHUNK)
