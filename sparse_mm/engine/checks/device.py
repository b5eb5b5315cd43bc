"""Checks that the device of the config exists."""

import torch
from mmengine.config import Config

from sparse_mm.engine.hosts import AMP_OPTIM_WRAPPER, uses_amp, uses_sync_bn


def check_device(cfg: Config) -> list[str]:
    """Checks that a config that needs CUDA finds it.

    Args:
        cfg: The run's config.

    Returns:
        A sentence for each setting that needs a device that is not there.
    """
    if torch.cuda.is_available():
        return []
    problems = []
    if uses_amp(cfg.get('optim_wrapper')):
        problems.append(
            f'This run uses mixed precision ({AMP_OPTIM_WRAPPER}), which needs a CUDA device, and '
            'torch sees none; leave out --amp and add --cfg-options '
            'optim_wrapper.type=OptimWrapper to train in fp32 on the CPU.'
        )
    backend = ((cfg.get('env_cfg') or {}).get('dist_cfg') or {}).get('backend')
    if cfg.get('launcher', 'none') != 'none' and backend == 'nccl':
        problems.append(
            'The distributed backend is nccl, which needs CUDA devices, and torch sees none; add '
            '--cfg-options env_cfg.dist_cfg.backend=gloo to run on CPUs.'
        )
    if 'cuda' in str(cfg.get('device', '')):
        problems.append(
            f'The config needs the device {cfg.device!r}, and torch sees no CUDA device; leave '
            'out device.'
        )
    if cfg.get('launcher', 'none') != 'none' and uses_sync_bn(cfg.get('model')):
        # In a single process MMEngine puts BN in its place.
        problems.append(
            'The model uses SyncBN, which needs CUDA devices for several processes, and torch sees '
            'none; set its norm_cfg to BN, or run one process.'
        )
    return problems


def check_device_name(device: str) -> list[str]:
    """Checks ``--device`` of a tool.

    Args:
        device: ``'cpu'``, ``'cuda'``, ``'cuda:1'``.
    """
    if not device.startswith(('cpu', 'cuda')):
        return [f'--device must be cpu or cuda, not {device!r}.']
    if device.startswith('cuda') and not torch.cuda.is_available():
        return ['--device needs CUDA, and torch sees no such device; try cpu.']
    return []
