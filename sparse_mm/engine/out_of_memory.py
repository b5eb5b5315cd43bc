"""Errors that say that memory ran out."""

import torch

SAID = (
    *('out of memory', 'not enough memory', "can't allocate memory", 'Cannot allocate memory'),
    # Of a loader's process: its shared memory, or the host's, which the kernel ends it for.
    *('out of shared memory', 'is killed by signal: Killed'),
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on the device or on the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(text in str(error) for text in SAID)
