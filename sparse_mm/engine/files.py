"""Paths as users write them, and writing a file in one step."""

import os
import re
from pathlib import Path

from sparse_mm.errors import BadInputError


def expand_path(text: str) -> str:
    """Puts folders in place of ``~`` and of an environment variable at a path's beginning.

    Any other text stays as it is, as does the name of a variable that is not set.
    """
    if re.match(r'~([\w.-]*/|$)', text):
        return os.path.expanduser(text)
    if re.match(r'\$(\w+|\{\w+\})(/|$)', text):
        return os.path.expandvars(text)
    return text


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file in one step: a kill leaves the old or the new one, never half of it.

    Raises:
        BadInputError: It cannot be written: a full disk, rights, a read-only file system. The old
            file is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    # One name for each process: several may write, each its own.
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        with temporary.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadInputError(
            f'{str(path)!r} cannot be written ({error.strerror}); see to its disk and its rights, '
            'then start the same command again (train.py with --resume): what was there before is '
            'whole.'
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def set_aside(path: Path, mark: str) -> Path:
    """Gives a file another name, one that is free; nothing is deleted.

    Args:
        path: The file.
        mark: What to add to its name: ``epoch_1.pth`` becomes ``epoch_1.pth.damaged``, then
            ``epoch_1.pth.damaged-2``.

    Returns:
        Its new name.
    """
    target = path.with_name(f'{path.name}.{mark}')
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f'{path.name}.{mark}-{number}')
    os.replace(path, target)
    return target
