"""The end of a process that belongs to a group of them."""

import atexit
import contextlib
import os
import sys
import threading
from typing import Any, NoReturn

import torch
from mmengine.dist import get_rank

# How gloo and NCCL say that the process at the other end is gone.
LOST = (
    *('Connection closed by peer', 'Connection reset by peer', 'Broken pipe'),
    'remote process exited',
)
# Where a process that fails leaves its message for the others, in the store that they met by.
FAILURE = 'sparse_mm/failure'


def in_group() -> bool:
    """Whether this process has joined others."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether an exchange failed because another process is gone."""
    return in_group() and any(text in str(error) for text in LOST)


def failure_of_another() -> str | None:
    """The message of the process that failed first, if it could leave one.

    It cannot where it is killed, nor where the store has gone with it: that of ``torchrun`` lives
    on, other launchers' is a part of rank 0.
    """
    with contextlib.suppress(RuntimeError):
        store = _store()
        if store.check([FAILURE]):
            return store.get(FAILURE).decode()
    return None


def leave_together() -> NoReturn:
    """Ends this process after success, when the others are done as well.

    A process that ends earlier would close what the others still exchange with it.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    leave(0)


def leave_alone(error: BaseException) -> NoReturn:
    """Ends this process because of an error, without waiting for the others.

    Their exchanges with it fail when its connections close; why, they find in the store. What was
    said goes to stderr, as the interpreter itself would write it.

    Args:
        error: What ended the command; the code of a ``SystemExit`` becomes the process's.
    """
    code, told = 1, None
    if not isinstance(error, SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
        told = f'Process {get_rank()} failed with {type(error).__name__}: {error}'
    elif error.code is None or isinstance(error.code, int):
        code = error.code or 0
    else:
        print(error.code, file=sys.stderr)
        told = str(error.code).removeprefix('error: ')
    if told is not None:
        with contextlib.suppress(RuntimeError):  # the store is gone, and with it who could ask
            _store().compare_set(FAILURE, '', told)  # the first one stays
    leave(code)


def _store() -> Any:
    # Not every build of torch has it.
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def leave(code: int) -> NoReturn:
    """Ends this process as Python does, but without destroying objects.

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
