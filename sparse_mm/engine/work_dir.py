"""Locks a work directory for one run at a time."""

import atexit
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

from sparse_mm.errors import BadInputError
from sparse_mm.ranks import on_main_process

try:
    import fcntl
except ImportError:  # not on Windows; there, work directories are not guarded
    fcntl = None  # type: ignore[assignment]

LOCK = '.run.lock'


class WorkDirLock:
    """Refuses a second run in a work directory while the first one lives.

    The kernel holds the lock until the process ends, in any way; a file left by a killed run locks
    nothing. Loader processes do not inherit it. On NFS the server holds it for all machines. If a
    file system has no locks, the log says so and the run continues.

    Args:
        work_dir: The work directory.
    """

    def __init__(self, work_dir: str) -> None:
        self.path = Path(work_dir) / LOCK
        self.file: IO[str] | None = None

    def acquire(self) -> str | None:
        """Takes the lock for as long as the process lives.

        Returns:
            None, or a sentence that says why the directory could not be guarded.

        Raises:
            BadInputError: Another run has it.
        """
        if fcntl is None:
            return 'This system has no file locks: see to it that no second run uses the work dir.'
        try:
            file = open(self.path, 'a+')  # noqa: SIM115, closed by release, or with the process
        except OSError as error:
            raise BadInputError(
                f'The file {str(self.path)!r}, by which a run reserves its work directory, cannot '
                f'be written ({error.strerror}); see to its owner, or choose another work '
                'directory with --work-dir.'
            ) from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            holder = self._holder(file)
            file.close()
            raise BadInputError(
                f'Another run works in {str(self.path.parent)!r} ({holder}); wait for its end, '
                'or choose another work directory with --work-dir.'
            ) from error
        except OSError as error:
            file.close()
            return (
                f'The file system of {str(self.path.parent)!r} has no locks ({error.strerror}): '
                'see to it that no second run uses it.'
            )
        file.seek(0)
        file.truncate()
        about = dict(
            process=os.getpid(),
            host=socket.gethostname(),
            since=time.strftime('%Y-%m-%d %H:%M:%S'),
            command=' '.join(sys.argv),
        )
        file.write(json.dumps(about))
        file.flush()
        self.file = file
        return None

    def release(self) -> None:
        """Releases the lock before the process ends."""
        if self.file is not None:
            self.file.close()
            self.file = None

    @staticmethod
    def _holder(file: IO[str]) -> str:
        try:
            file.seek(0)
            about: Any = json.loads(file.read(10_000))
            return f'process {about["process"]} on {about["host"]} since {about["since"]}'
        except (OSError, ValueError, KeyError, TypeError):
            return 'it has not said which'


def guard_work_dir(work_dir: str) -> list[str]:
    """Takes rank 0's work directory for this process, until it ends.

    Returns:
        What is to be said in the log.

    Raises:
        BadInputError: Another run has it.
    """

    def take() -> list[str]:
        lock = WorkDirLock(work_dir)
        said = lock.acquire()
        atexit.register(lock.release)
        return [said] if said else []

    return on_main_process(take)
