"""Times on a device, taken without waiting for it."""

import time
from typing import Any

import torch


class Stopwatch:
    """Takes times on a device without waiting for it.

    Args:
        device: On CUDA the times are events in its queue; elsewhere the host's clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == 'cuda'

    def mark(self) -> Any:
        """Takes the time."""
        if not self.cuda:
            return time.perf_counter()
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
