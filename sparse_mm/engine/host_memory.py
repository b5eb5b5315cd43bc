"""Keeps freed memory in the process, instead of returning it to the kernel."""

import ctypes
import os
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
# What glibc reads at a process's start; where the user has set one, it is left as it is.
SETTINGS = (
    'GLIBC_TUNABLES',
    'MALLOC_MMAP_MAX_',
    'MALLOC_MMAP_THRESHOLD_',
    'MALLOC_TRIM_THRESHOLD_',
)


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory, for this process and those it forks.

    By default glibc maps new memory for most tensors of several MB and unmaps it when they are
    freed, so the kernel must clear every page each time. With this setting the memory of the
    process does not decrease after its peak, and the peak can be higher because of fragmentation:
    docs/performance.md has the figures.

    Returns:
        Whether it was done: not with another C library, nor where the environment holds settings
        of glibc's allocator.
    """
    if not sys.platform.startswith('linux') or any(name in os.environ for name in SETTINGS):
        return False
    c_library = ctypes.CDLL(None)
    if not hasattr(c_library, 'gnu_get_libc_version'):
        return False
    largest = 2**31 - 1  # bytes; the values are C's int
    return bool(c_library.mallopt(_M_MMAP_MAX, 0) and c_library.mallopt(_M_TRIM_THRESHOLD, largest))
