"""The end of a process that belongs to a group of them."""

import atexit
import os
import sys
import threading
from typing import NoReturn

import torch

# How gloo and NCCL say that the process at the other end is gone.
LOST = (
    *('Connection closed by peer', 'Connection reset by peer', 'Broken pipe'),
    'remote process exited',
)


def in_group() -> bool:
    """Whether this process has joined others."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether an exchange failed because another process is gone."""
    return in_group() and any(text in str(error) for text in LOST)


def leave_together() -> NoReturn:
    """Ends this process after all has gone well, when the others are done as well.

    A process that ends earlier would close what the others still exchange with it.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    leave(0)


def leave_alone(error: BaseException) -> NoReturn:
    """Ends this process because of an error, without waiting for the others.

    They are told by the group's connections, which close with this process. What was said goes to
    stderr, as the interpreter itself would write it.

    Args:
        error: What ended the command; the code of a ``SystemExit`` becomes the process's.
    """
    code = 1
    if not isinstance(error, SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
    elif error.code is None or isinstance(error.code, int):
        code = error.code or 0
    else:
        print(error.code, file=sys.stderr)
    leave(code)


def leave(code: int) -> NoReturn:
    """Ends this process with all that Python does at its end, except taking objects apart.

    The threads of a group live as long as anything refers to it, a data-parallel model say, and
    they free tensors, for which they take the interpreter's lock. While the interpreter is being
    taken apart, taking it ends the thread, inside a C++ destructor; that aborts the process
    ("terminate called without an active exception") after all is done. An exchange that was left in
    the middle would even be waited for. So nothing is taken apart: what multiprocessing does at the
    end of its processes, for the same kind of reason.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined] # joins those that are no daemons
        atexit._run_exitfuncs()  # loaders' processes, locks, logs
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)
