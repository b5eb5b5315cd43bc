"""Measures the most memory that a pass needs, beyond the weights and the input.

On CUDA PyTorch's allocator counts. On a CPU each run has a process of its own: it builds the
backbone, makes one pass over a tiny image (which loads code and lets libraries keep what they keep
of the weights), gives free memory back to the system, and then makes one pass at the real size. The
figure is how far the peak of the process's resident memory rises above what was resident just
before. In training the gradients are in it, as far as they exist when the peak is reached.
Where ratios are drawn in every pass, it is the most that any of the first draws needs.

The C library's allocator is told there to take each large block from the system and to give it back
at once. By default it changes its mind about that while a process runs, and what it keeps in
between depends on the order of all allocations so far, and nearly doubled what was in use.
"""

import ctypes
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import torch

from sparse_mm.engine.children import end_with_parent
from sparse_mm.errors import BadInputError
from tools.benchmarks.passes import COUNTED_DRAWS, Pass, Setup
from tools.benchmarks.runs import Run, build

TINY = 64  # side of the image to warm up with
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE = 64 * 1024  # bytes
DEFINITION = (
    'peak memory: the most that one pass adds to the weights and the input '
    '({}, outside of the timing)'
)


def can_measure(setup: Setup) -> bool:
    """Whether there is a way to measure here: CUDA, or a CPU under Linux.

    CUDA graphs, as the further modes of ``torch.compile`` make them, keep memory of their own, of
    which the allocator's counters know nothing.
    """
    if setup.device.startswith('cuda'):
        return setup.compile in ('none', 'default')
    return os.access('/proc/self/clear_refs', os.W_OK)


def define(device: str) -> str:
    """What the figures are, for people."""
    cuda = device.startswith('cuda')
    return DEFINITION.format(
        "PyTorch's allocator" if cuda else 'resident memory of a process of its own'
    )


def peak_memory(runs: list[Run], setup: Setup, threads: int) -> list[int]:
    """Measures all runs, one after another.

    Args:
        runs: The backbones.
        setup: How they compute.
        threads: Of the CPU.

    Returns:
        Bytes.

    Raises:
        BadInputError: The memory of the machine does not suffice.
    """
    if setup.device.startswith('cuda'):
        torch.cuda.empty_cache()
        return [_on_cuda(run, setup) for run in runs]
    # Forked from a server that has imported everything and computed nothing: a fork of this process
    # would hang in the threads that it does not inherit, and a fresh one would import for long.
    context = get_context('forkserver')
    scopes = {str(run.settings['type']).rpartition('.')[0] or run.scope for run in runs}
    hosts = [f'{scope}.models' for scope in sorted(scopes - {'mmengine'})]
    # Not this module: the server does not know the folder that the command line adds to its path.
    context.set_forkserver_preload(['torch', 'sparse_mm.engine.command_line', *hosts])
    found = []
    for run in runs:
        with ProcessPoolExecutor(1, context, initializer=end_with_parent) as pool:
            try:
                found.append(pool.submit(_in_own_process, run, setup, threads).result())
            except BrokenProcessPool as error:
                raise BadInputError(
                    f'The process that measures the memory of {run.name!r} was killed, which '
                    'happens where memory runs out; take a smaller --batch or --shape, or '
                    '--no-memory.'
                ) from error
    return found


def _passes(run: Run, setup: Setup) -> tuple[Pass, Pass]:
    """A pass to warm up with, and the one to measure."""
    backbone = build(run)
    height, width = run.image_size
    tiny = min(TINY, height), min(TINY, width)
    measured = Pass(run, setup, backbone)
    # What is compiled is compiled for one size.
    return measured if setup.compile != 'none' else Pass(run, setup, backbone, tiny), measured


def _on_cuda(run: Run, setup: Setup) -> int:
    warm_up, measured = _passes(run, setup)
    warm_up()
    measured.backbone.zero_grad(set_to_none=True)
    torch.cuda.synchronize(setup.device)
    torch.cuda.reset_peak_memory_stats(setup.device)
    before = torch.cuda.memory_allocated(setup.device)
    for _ in range(COUNTED_DRAWS if run.draws_ratios else 1):
        measured()
    torch.cuda.synchronize(setup.device)
    return torch.cuda.max_memory_allocated(setup.device) - before


def _in_own_process(run: Run, setup: Setup, threads: int) -> int:
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):  # of glibc
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    warm_up, measured = _passes(run, setup)
    warm_up()
    measured.backbone.zero_grad(set_to_none=True)
    del warm_up
    if hasattr(libc, 'malloc_trim'):
        libc.malloc_trim(0)  # else a pass may live on what the one before has left
    Path('/proc/self/clear_refs').write_text('5')  # the peak starts anew from here
    before = _resident('VmRSS')
    for _ in range(COUNTED_DRAWS if run.draws_ratios else 1):
        measured()
    return max(_resident('VmHWM') - before, 0)


def _resident(field: str) -> int:
    """Reads one of the kernel's figures on this process, in bytes."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'/proc/self/status has no {field}.')
