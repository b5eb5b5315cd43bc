"""Time measurement on a device, without synchronising."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

CLOCKS = dict(wall=time.perf_counter, cpu=time.thread_time, process=time.process_time)


class Stopwatch:
    """Measures times on a device without synchronising.

    Args:
        device: On CUDA the times are events in its queue; elsewhere the host's clock.
        clock: On a CPU: ``'wall'``, or ``'cpu'`` for the time that the calling thread computes,
            which stands still while other programs have its core; ``'process'`` for that of all
            threads of this process, where another one than the calling thread computes.
    """

    def __init__(self, device: torch.device, clock: str = 'wall') -> None:
        self.cuda = device.type == 'cuda'
        self._clock = CLOCKS[clock]

    def mark(self) -> Any:
        """Takes the time."""
        if not self.cuda:
            return self._clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        """Milliseconds between two marks; on CUDA, after :meth:`wait`."""
        return start.elapsed_time(end) if self.cuda else (end - start) * 1e3

    def wait(self) -> None:
        """Lets the device finish its queue."""
        if self.cuda:
            torch.cuda.synchronize()


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it PyTorch computes on the calling thread alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
