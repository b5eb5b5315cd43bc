"""Shared code of the command lines: options, reading the config, error messages."""

import argparse
import errno
import json
import math
import os
import re
import sys
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any, NoReturn

import torch
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from sparse_mm.engine.checkpoint_loader import read_checkpoints_safely
from sparse_mm.engine.checks import check_structure, report
from sparse_mm.engine.config_file import read_config
from sparse_mm.engine.explanations import explain
from sparse_mm.engine.files import expand_path
from sparse_mm.engine.hooks import CheckDataHook, CPUSpeedHook, StepSeedHook
from sparse_mm.engine.hosts import host_of, is_kind
from sparse_mm.engine.leaving import (
    failure_of_another,
    in_group,
    is_lost_peer,
    leave_alone,
    leave_together,
)
from sparse_mm.engine.out_of_memory import is_out_of_memory
from sparse_mm.engine.processes import check_launcher, start_processes
from sparse_mm.engine.setup_failures import as_raised
from sparse_mm.engine.signals import (
    SIGTERM_EXIT,
    StoppedError,
    is_stopped_loader,
    leaving_in_order,
)
from sparse_mm.errors import BadInputError
from sparse_mm.ranks import on_every_process

LARGEST = 1e9  # number of a command line; timers overflow at larger ones
# A full or failing disk, or one that has become read-only.
FULL_OR_LOCKED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Override(DictAction):
    """``--cfg-options`` as MMEngine reads them, with an error message for missing values."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Reads the options."""
        for given in values:
            key, equals, value = given.partition('=')
            if not equals or not all(key.split('.')):
                parser.error(f'argument {option_string}: {given!r} is not key=value')
            if any(value.count(left) != value.count(right) for left, right in ('()', '[]')):
                parser.error(f'argument {option_string}: the brackets of {given!r} do not match')
            if value.lstrip().startswith('{'):  # MMEngine would look for its commas for ever
                parser.error(
                    f'argument {option_string}: {key} cannot be given a dict; set what is in it, '
                    f'one by one, by {key}.name=value'
                )
        super().__call__(parser, namespace, values, option_string)

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """Keeps the spaces of a single value, such as a path's, which MMEngine takes out."""
        if ' ' in val.strip() and not re.search(r'[,()\[\]]', val):
            return val.strip().strip('\'"')
        return DictAction._parse_iterable(val)


def finite(text: str) -> float:
    """Reads a number of a command line, for ``type=``: no nan, and nothing above 1e9."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number up to {LARGEST:.0e}')
    return value


def whole(text: str) -> int:
    """Reads a whole number of a command line, for ``type=``, of at most 32 bits with its sign.

    Larger ones are not valid counts, sizes or seeds, and PyTorch, OpenCV and NumPy refuse them with
    different errors.
    """
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'invalid int value: {text!r}') from None
    if not -(2**31) <= value < 2**32:
        raise argparse.ArgumentTypeError(f'{text} is beyond the range of 32-bit numbers')
    return value


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that OpenMMLab's tools share."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and results')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Override,
        help='override settings of the config, key=value; lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=whole, default=0, help=argparse.SUPPRESS
    )


def load_config(args: argparse.Namespace) -> Config:
    """Reads the config that the options name, with their overrides.

    See :func:`~sparse_mm.engine.config_file.read_config`.

    Raises:
        BadInputError: There is no such file, it cannot be read, a setting is of another kind than
            MMEngine takes there, or the launcher is not around.
    """
    check_launcher(args.launcher)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = f'./work_dirs/{Path(args.config).stem}'
    report(check_structure(cfg))
    return cfg


def expand_arguments(arguments: list[str]) -> list[str]:
    """Expands ``~`` and ``$NAME``, which shells do not expand in ``--out=~/run``.

    Args:
        arguments: Of the command line. ``--cfg-options`` are the config's to expand.
    """
    expanded = []
    for argument in arguments:
        option, equals, value = argument.partition('=')
        if equals and option.startswith('--'):
            expanded.append(option + equals + expand_path(value))
        else:
            expanded.append(expand_path(argument))
    return expanded


def read_ratios(text: str) -> Any:
    """Reads ``--ratios``: JSON itself, or the path of a JSON file."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def set_default_loader_options(cfg: Config, split: str) -> None:
    """Gives a data loader the options that the host's own tools add to every config."""
    loader, usual = cfg.get(f'{split}_dataloader'), host_of(cfg).loader
    if loader is not None and usual:
        loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
        for name, value in usual.items():
            loader.setdefault(name, copy(value))


def start_together(cfg: Config, device: list[str], problems: list[str]) -> None:
    """Joins the launcher's processes; a problem in one of them ends all.

    Args:
        cfg: The run's config.
        device: What is wrong with the device, the same for all; they could not even meet.
        problems: All that this process has found wrong, ``device`` included.

    Raises:
        BadInputError: Something is wrong, here or elsewhere.
    """
    if device:
        report(problems)
    start_processes(cfg)
    on_every_process(lambda: report(problems))


def build_runner(cfg: Config, *more: type[Hook], mixin: type[Runner] | None = None) -> Any:
    """Builds the runner of a config, with hooks that check the data and set seeds.

    The hooks are added to the config, so that its dump contains everything that runs. Without a
    GPU, ``CPUSpeedHook`` is added, too.

    Args:
        cfg: The run's config.
        *more: Further hooks, with their own defaults.
        mixin: A subclass of MMEngine's runner, of which the runner is to be, too.

    Returns:
        The runner, of the class that the config names, or MMEngine's.
    """
    start_processes(cfg)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        # MMEngine's wrapper would look for a CUDA device for each process.
        if not cfg.get('model_wrapper_cfg'):  # as MMEngine's runner has it
            cfg.model_wrapper_cfg = dict(
                type='MMDistributedDataParallel',
                broadcast_buffers=False,
                find_unused_parameters=cfg.get('find_unused_parameters', False),
            )
        cfg.model_wrapper_cfg.setdefault('device_ids', None)
    speed = () if torch.cuda.is_available() else (CPUSpeedHook,)
    add_hooks(cfg, CheckDataHook, StepSeedHook, *speed, *more)
    if mixin is not None:
        named = RUNNERS.get(cfg.get('runner_type', 'Runner'))
        kind: Any = type(mixin.__name__, (mixin, named), {})
        return kind.from_cfg(cfg)
    return Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)


def add_hooks(cfg: Config, *own: type[Hook]) -> None:
    """Adds our hooks to a config, unless it already contains them."""
    hooks = list(cfg.get('custom_hooks') or [])
    listed = [hook['type'] if isinstance(hook, dict) else type(hook) for hook in hooks]
    for hook in own:
        if not any(is_kind(kind, hook.__name__) for kind in listed):
            hooks.append(dict(type=hook.__name__))
    cfg.custom_hooks = hooks
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    if 'sparse_mm' not in imports:  # else the dumped config would name hooks that nobody registers
        cfg.custom_imports = dict(cfg.get('custom_imports') or {}, imports=[*imports, 'sparse_mm'])


def run(main: Callable[[], None]) -> None:
    """Runs a command; a user's mistake ends it with a message, not a traceback.

    Processes of a launcher end together where all goes well; one that fails does not wait for the
    others. A program that joined its processes before, and calls a command, goes on after it.
    """
    read_checkpoints_safely()
    sys.argv[1:] = expand_arguments(sys.argv[1:])
    joined_before = in_group()
    try:
        _run_and_tell(main)
    except BaseException as error:
        if joined_before or not in_group():
            raise
        leave_alone(error)
    if in_group() and not joined_before:
        leave_together()


def _run_and_tell(main: Callable[[], None]) -> None:
    """Runs a command; turns a user's mistake into a ``SystemExit`` with a message."""
    try:
        with leaving_in_order():
            main()
    except BadInputError as error:
        sys.exit(f'error: {error}')
    except StoppedError:
        _say_stopped()
    except Exception as error:
        told = _told(error)
        if told is None:
            first = as_raised(error)
            if first is error:
                raise
            raise first from None
        sys.exit(f'error: {told}')


def _told(error: Exception) -> str | None:
    """The message for an error that is not a bug of ours; None for a bug."""
    if isinstance(error, OSError) and error.errno in FULL_OR_LOCKED:
        return (
            f'{error.filename or "A file"} cannot be written ({error.strerror}); make room or see '
            'to its rights, then run the same command again (train.py with --resume).'
        )
    if isinstance(error, RuntimeError) and is_stopped_loader(error):
        _say_stopped()
    if isinstance(error, RuntimeError) and is_lost_peer(error):
        return failure_of_another() or (
            'Another process of this run has ended, and this one cannot go on without it; its own '
            'message says why. Checkpoints and the state of a search are whole: the same command '
            f'goes on from them (train.py with --resume). {str(error).strip()}'
        )
    if is_out_of_memory(error):
        what = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        return f'There is too little memory ({what}); take a smaller batch or smaller images.'
    return explain(error)


def _say_stopped() -> NoReturn:
    print(
        'stopped by SIGTERM: checkpoints and the state of a search are whole; the same command '
        'goes on from them (train.py with --resume).',
        file=sys.stderr,
    )
    sys.exit(SIGTERM_EXIT)
