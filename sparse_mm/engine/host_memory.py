"""Memory that a CPU run has freed stays its own, instead of going back to the kernel."""

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
    """Tells glibc to keep what is freed, for this process and those it forks.

    By itself glibc maps most tensors of some MB anew and unmaps them when they are freed, so that
    the kernel must clear every page of every one of them. Memory does not become less after its
    peak, and the peak can be higher, as what is freed lies in pieces: docs/performance.md has the
    figures.

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
