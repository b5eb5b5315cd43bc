"""Checks that results can be written, and that nothing is overwritten."""

import os
import re
import tempfile
from pathlib import Path

from sparse_mm.named_weights import first_few


def is_elsewhere(path: str) -> bool:
    """Whether a path is an address, ``s3://…``; a ``Path`` of one has a single slash."""
    return re.match(r'\w\w+:/', path) is not None


def check_work_dir(work_dir: str, option: str = '--work-dir') -> list[str]:
    """Checks that a folder for results can be made and written, and leaves nothing in it.

    Args:
        work_dir: The folder.
        option: What names another one, for the message.
    """
    what = 'work directory' if option == '--work-dir' else 'folder'
    if is_elsewhere(work_dir):
        more = (
            '; copies of the checkpoints go elsewhere by default_hooks.checkpoint.out_dir'
            if option == '--work-dir'
            else ''
        )
        return [f'The {what} {work_dir!r} is not on this machine; choose a local one{more}.']
    try:
        os.makedirs(work_dir, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir):
            pass
    except OSError as error:
        return [
            f'The {what} {work_dir!r} cannot be written ({error.strerror}); choose another with '
            f'{option}.'
        ]
    return []


def check_no_earlier_run(work_dir: str, checkpoints: Path) -> list[str]:
    """Checks that a new training would not write over the checkpoints of an earlier one.

    Args:
        work_dir: The run's work directory.
        checkpoints: Where its checkpoints go: there, or into another folder.
    """
    places = {'work directory': Path(work_dir), 'folder of the checkpoints': checkpoints}
    for what, folder in places.items():
        earlier = sorted(folder.glob('*.pth'))
        if earlier:
            return [
                f'The {what} {str(folder)!r} holds an earlier run '
                f'({first_few([p.name for p in earlier])}); go on with it by --resume, or choose '
                'another work directory with --work-dir.'
            ]
    return []
