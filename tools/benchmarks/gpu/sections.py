"""Runs sections one after another, each in a process of its own and within its share of the time.

An illegal memory access ends every later call of a CUDA process, and a compiler can hang: so each
section runs in a child. Children are forked from a process that has imported everything and has
never touched the device; they begin at once, and what they find reaches the parent as it comes.
Where the driver was touched by an import all the same, children are started afresh.
"""

import ctypes
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from sparse_mm.engine.children import end_with_parent
from tools.benchmarks.gpu.record import Record, Row

GRACE = 0.3  # of its share that a section may take beyond it, while it comes to an end by itself


class Section:
    """What a section's function is given.

    Args:
        device: Where to measure.
        tiny: Whether everything is to be as small as can be: a dry run.
        seconds: Its share of the time.
        tell: Takes ``(kind, value)`` for the record.
    """

    def __init__(
        self, device: torch.device, tiny: bool, seconds: float, tell: Callable[[tuple], None]
    ) -> None:
        self.device = device
        self.tiny = tiny
        self._end = time.monotonic() + seconds
        self._tell = tell

    @property
    def cuda(self) -> bool:
        """Whether this is a GPU."""
        return self.device.type == 'cuda'

    def left(self) -> float:
        """Seconds that are left."""
        return self._end - time.monotonic()

    def add(self, **row: Any) -> None:
        """Adds a row to the section's table. A column ``ok`` that is False is a failure."""
        self._tell(('row', row))

    def note(self, text: str) -> None:
        """Adds a sentence."""
        self._tell(('note', text))

    def wait(self) -> None:
        """Waits for the device."""
        if self.cuda:
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Plan:
    """A section of the kit.

    Attributes:
        name: In the record.
        run: What it does; the first line of its docstring is the title.
        share: Of the time, in proportion to those of the sections that are still to come.
    """

    name: str
    run: Callable[[Section], None]
    share: float

    @property
    def title(self) -> str:
        """What it is about."""
        return (self.run.__doc__ or '').strip().splitlines()[0].rstrip('.')


def how_to_start(device: str) -> str | None:
    """How children that can use a device are started: ``'fork'`` or ``'spawn'``; None for no way.

    A fork is tried first, for it has no imports to repeat. It fails where the parent has used
    the driver: ``torch.cuda.is_available()`` does, unless NVML answers in its place.
    """
    if device == 'cpu':
        return 'fork'
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:  # no driver: nothing to try
        return None
    for method in ('fork', 'spawn'):
        child = get_context(method).Process(target=_touch, args=(device,))
        child.start()
        child.join()
        if child.exitcode == 0:
            return method
    return None


def _touch(device: str) -> None:
    with open(os.devnull, 'w') as nowhere:  # a failure is an answer here, no traceback to read
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    torch.zeros(1, device=device)


def run_all(
    plans: Sequence[Plan],
    record: Record,
    device: str,
    tiny: bool,
    seconds: float,
    method: str = 'fork',
) -> None:
    """Runs all sections; time that one leaves is shared out to the later ones.

    Args:
        plans: The sections.
        record: Takes what they find.
        device: ``'cuda'`` or ``'cpu'``.
        tiny: See :class:`Section`.
        seconds: For all of them.
        method: See :func:`how_to_start`.
    """
    end = time.monotonic() + seconds
    for i, plan in enumerate(plans):
        left = end - time.monotonic()
        share = left * plan.share / sum(other.share for other in plans[i:])
        if share < 1:
            record.begin(plan.name, plan.title, share)
            record.end(plan.name, 'skipped', 0.0)
            continue
        limit = min(left, share * (1 + GRACE))
        _run_apart(plan, record, (device, tiny, share), limit, method)


def _run_apart(
    plan: Plan, record: Record, given: tuple[str, bool, float], limit: float, method: str
) -> None:
    *_, share = given
    record.begin(plan.name, plan.title, share)
    print(f'== {plan.name}: {plan.title} ({share:.0f} s)', flush=True)
    began = time.monotonic()
    context = get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(plan, *given, theirs))
    child.start()
    theirs.close()
    status, reason = 'cut', ''
    while ours.poll(max(0.0, began + limit - time.monotonic())):
        try:
            kind, value = ours.recv()
        except EOFError:  # it ended without a word: killed, or a crash in a library
            child.join()
            status, reason = 'failed', f'The process ended with {child.exitcode}.'
            break
        if kind in ('done', 'failed'):
            status, reason = kind, value
            break
        print('  ', describe(value), flush=True)
        record.add(plan.name, kind, value)
    if status == 'cut':
        child.kill()
    child.join()
    if reason:
        print(reason, flush=True)
    taken = time.monotonic() - began
    record.end(plan.name, status, taken, reason)
    print(f'   {status}, {taken:.0f} s', flush=True)


def describe(value: Row | str) -> str:
    """A row or a note in one line."""
    if isinstance(value, str):
        return value
    shown = ((k, f'{v:.4g}' if isinstance(v, float) else v) for k, v in value.items())
    return ', '.join(f'{name}: {content}' for name, content in shown if content is not None)


def _in_child(plan: Plan, device: str, tiny: bool, share: float, tell: Connection) -> None:
    end_with_parent()
    try:
        # One thread: those that an import may have started in the parent are not in a fork, and
        # the next parallel loop would wait for them for ever.
        torch.set_num_threads(1)
        # fp32 is fp32 here: the tables say so where TF32 is meant.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.manual_seed(0)
        plan.run(Section(torch.device(device), tiny, share, tell.send))
        tell.send(('done', ''))
    except Exception:
        tell.send(('failed', traceback.format_exc(limit=-6)))
