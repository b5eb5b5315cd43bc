"""Writes checkpoints in one step, and removes the old one only after the new one."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from sparse_mm.engine.files import write_atomically

REPLACED = '.replaced'
WHOLE_FILES = dict(backend='whole_files')  # MMEngine's backend_args that ask for it


@register_backend('whole_files')
class WholeFilesBackend(LocalBackend):
    """MMEngine's local files, safe against a kill at any moment.

    MMEngine's checkpoint hook removes the oldest checkpoint, then writes the new one in place: a
    kill between leaves a run that keeps one checkpoint with none. Here a removed checkpoint is only
    put out of the way (``epoch_1.pth.replaced``) and goes when the next one is on the disk.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file in one step, then removes what it replaces."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, obj)
        for replaced in path.parent.glob(f'*.pth{REPLACED}'):
            replaced.unlink(missing_ok=True)

    def remove(self, filepath: str | Path) -> None:
        """Renames a checkpoint until the next one is written."""
        path = Path(filepath)
        if path.suffix == '.pth':
            os.replace(path, path.with_name(path.name + REPLACED))
        else:
            super().remove(path)


def bring_back_replaced(folder: Path) -> list[Path]:
    """Gives checkpoints their names back that a kill kept out of the way.

    Returns:
        Those that have theirs back.
    """
    back = []
    for replaced in sorted(folder.glob(f'*.pth{REPLACED}')):
        path = replaced.with_name(replaced.name.removesuffix(REPLACED))
        if not path.exists():
            os.replace(replaced, path)
            back.append(path)
    return back


def remove_leftovers(folder: Path) -> None:
    """Removes the unfinished files that :func:`write_atomically` had begun when it was killed.

    Args:
        folder: A work directory that no other run uses; its folders are searched, too.
    """
    for path in (*folder.glob('.*.*'), *folder.glob('*/.*.*')):
        process = path.suffix[1:]
        if path.is_file() and process.isdigit() and path.stem.count('.') >= 2:
            path.unlink(missing_ok=True)
