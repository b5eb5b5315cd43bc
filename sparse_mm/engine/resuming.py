"""Finds and checks the checkpoint to resume from, and sends it to every machine."""

import os
from pathlib import Path

from mmengine.config import Config

from sparse_mm.checkpoints import find_latest
from sparse_mm.engine.checks.folders import is_elsewhere
from sparse_mm.engine.file_backend import WHOLE_FILES, bring_back_replaced, remove_leftovers
from sparse_mm.engine.files import set_aside
from sparse_mm.engine.processes import share_file
from sparse_mm.ranks import on_main_process


def checkpoint_folder(cfg: Config) -> Path:
    """Where a run's checkpoints are written on this machine.

    Args:
        cfg: The run's config, with its ``work_dir``.

    Returns:
        The work directory, unless the checkpoint hook's ``out_dir`` is a local folder: in that one
        MMEngine makes one of the work directory's name. Of copies that go elsewhere nothing is
        here.
    """
    work_dir = os.path.abspath(cfg.work_dir)
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    out_dir = str(hook.get('out_dir') or '')
    if not out_dir or out_dir == work_dir or is_elsewhere(out_dir):
        return Path(cfg.work_dir)
    return Path(out_dir) / os.path.basename(work_dir)


def find_resume_point(work_dir: str, folder: Path) -> tuple[str | None, list[str]]:
    """Finds the checkpoint that ``--resume`` without a value goes on from.

    A damaged newer one, as a kill in its writing leaves it, is set aside under another name, so
    that nothing is written over.

    Args:
        work_dir: The run's work directory, which this run has the lock of.
        folder: Where its checkpoints are, see :func:`checkpoint_folder`.

    Returns:
        On every rank, the checkpoint of rank 0's work directory, or None where a run starts anew;
        and what was found on the way, in sentences for the log.

    Raises:
        BadInputError: There were checkpoints, and none can be gone on from.
    """

    def find() -> tuple[str | None, list[str]]:
        said = [f'{path} was being replaced: it is back.' for path in bring_back_replaced(folder)]
        remove_leftovers(folder)
        found, damaged = find_latest(work_dir, folder)
        for path in damaged:
            kept = set_aside(path, 'damaged')
            said.append(
                f'{path} is truncated, as a kill in its writing leaves it: it is now {kept}.'
            )
        if found is None:
            said.append(f'Nothing to resume in {work_dir}: the run starts at its beginning.')
        elif damaged:
            said.append(f'The run goes on from {found}, the newest whole checkpoint.')
        return found, said

    found, said = on_main_process(find)
    if found is not None:
        share_file(found)
    return found, said


def write_whole_checkpoints(cfg: Config) -> None:
    """Lets MMEngine's checkpoint hook write by :class:`WholeFilesBackend`.

    A config that names a storage of its own keeps it.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    if hook is None and 'default_hooks' not in cfg:
        cfg.default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
        hook = cfg.default_hooks.checkpoint
    if not hook or '://' in str(hook.get('out_dir') or ''):
        return
    if hook.get('backend_args') is None and hook.get('file_client_args') is None:
        hook.backend_args = WHOLE_FILES
