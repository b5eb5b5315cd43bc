"""A clean end on SIGTERM, which schedulers send some seconds before a kill."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGTERM_EXIT = 128 + signal.SIGTERM


class StoppedError(SystemExit):
    """The run got SIGTERM. Not an ``Exception``, so that no handler treats it as a failure."""

    def __init__(self) -> None:
        super().__init__(SIGTERM_EXIT)


def is_stopped_loader(error: BaseException) -> bool:
    """Whether an error says that SIGTERM has ended a loader's process, before this one's came."""
    return 'DataLoader worker' in str(error) and 'signal: Terminated' in str(error)


@contextmanager
def leaving_in_order() -> Iterator[None]:
    """Turns SIGTERM into :class:`StoppedError` where the program is.

    So loaders end, files that are being written are dropped, and the exchange with other processes
    is closed; a second SIGTERM ends the process at once. Schedulers send it to the loaders'
    processes, too: their end is no failure then.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if hasattr(signal, 'SIGCHLD'):  # torch's handler would raise over the end of a loader
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise StoppedError

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: whoever runs that sees to signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
