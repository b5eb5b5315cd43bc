"""Child processes that end when the process that started them ends, however it ends.

A process that is killed (``kill -9``, or by the kernel when memory runs out) cannot stop its
children: they would go on in the background, and hold cores, memory and the lock of a work
directory.
"""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread

CHILD_START = Path(__file__).with_name('child_start.py')


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """A command line whose process gets SIGTERM as soon as this process is gone.

    The kernel does this on Linux, without any help of the command; on other systems the command is
    returned as it is. The signal comes when the *thread* that starts the process ends, so that
    thread has to wait for the process.

    Args:
        command: The program and its arguments.
    """
    if not sys.platform.startswith('linux'):
        return list(command)
    # -I and -S: this start needs no packages, and the command gets its environment unchanged.
    start = sys.executable, '-I', '-S', str(CHILD_START), str(os.getpid())
    return [*start, *command]


def end_with_parent() -> None:
    """Makes this process, which ``multiprocessing`` has started, end as soon as its parent is gone.

    A thread waits for that. It works for all start methods, and for the processes of a
    ``concurrent.futures.ProcessPoolExecutor``, as their ``initializer``.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
