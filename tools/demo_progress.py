"""Runs our command lines for the demo: their output goes to a log, a line per phase to the user."""

import re
import subprocess
import sys
import time
from collections import deque
from math import inf
from pathlib import Path
from typing import TextIO

from sparse_mm.engine.children import ending_with_parent

ROOT = Path(__file__).resolve().parent.parent
# What a line of the log says: how to find it, and what the phase is called.
PATTERNS = [
    (re.compile(r'Measuring(?: latencies)?:.*?(\d+)/(\d+)'), 'measuring latencies'),
    (re.compile(r'Searching ratios:.*?(\d+)/(\d+)'), 'searching ratios'),
    (re.compile(r'Epoch\(train\)\s+(\[\d+\])\[\s*(\d+)/(\d+)\]'), 'training, epoch'),
    (re.compile(r'Epoch\(val\)\s+(\[\d+\])?\[\s*(\d+)/(\d+)\]'), 'validation'),
    (re.compile(r'Epoch\(test\)\s+\[\s*(\d+)/(\d+)\]'), 'testing'),
]
REPORT_EVERY = 20.0  # seconds, where the output is no terminal


def read_progress(line: str) -> tuple[str, int, int] | None:
    """Finds a phase, how much of it is done, and how much there is, in a line of a log."""
    for pattern, name in PATTERNS:
        if found := pattern.search(line):
            *epoch, done, total = found.groups()
            label = f'{name} {epoch[0].strip("[]")}' if epoch and epoch[0] else name
            return label, int(done), int(total)
    return None


def time_left(seconds: float) -> str:
    """Seconds in words, roughly."""
    return f'{seconds / 60:.0f} min' if seconds >= 90 else f'{seconds:.0f} s'


class PhaseReporter:
    """Tells how far a phase is, and how long it takes from here.

    Args:
        out: Where to. On a terminal the line is renewed, elsewhere one is written now and then.
    """

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.terminal = out.isatty()
        self.phase, self.began, self.first, self.told = '', 0.0, 0, 0.0
        self.open = False

    def note(self, phase: str, done: int, total: int, now: float) -> None:
        """Takes what a log says, at a time in seconds."""
        if phase != self.phase:
            self.close()
            self.phase, self.began, self.first, self.told = phase, now, done, -inf
        every = 0.5 if self.terminal else REPORT_EVERY
        if total < 1 or self.told == inf or (now - self.told < every and done < total):
            return
        self.told = now if done < total else inf  # the end is told once
        text = f'  {phase}: {done / total:4.0%}'
        if self.first < done < total:
            left = (now - self.began) / (done - self.first) * (total - done)
            text += f', {time_left(left)} left'
        if self.terminal:
            self.out.write(f'\r{text:60}')
            self.open = True
        else:
            self.out.write(text + '\n')
        self.out.flush()

    def close(self) -> None:
        """Ends a line that was being renewed."""
        if self.open:
            self.out.write('\n')
            self.open = False


def run_tool(tool: str, *arguments: object, log: Path, may_fail: bool = False) -> bool:
    """Runs one of our command lines.

    Args:
        tool: Its path in the folder ``tools``.
        *arguments: Its arguments.
        log: File that its output is added to.
        may_fail: Return False where it fails, instead of ending with its last lines.

    Returns:
        Whether it succeeded.
    """
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
    reporter, last = PhaseReporter(sys.stdout), deque[str](maxlen=15)
    with (
        log.open('a') as file,
        subprocess.Popen(
            ending_with_parent(command),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:  # a bar's carriage returns end lines, too
                file.write(line)
                file.flush()
                last.append(line.rstrip())
                if progress := read_progress(line):
                    reporter.note(*progress, time.monotonic())
        except BaseException:  # SIGTERM or Ctrl-C
            process.terminate()
            raise
    reporter.close()
    if process.returncode and not may_fail:
        print('\n'.join(line for line in last if line), file=sys.stderr)
        sys.exit(f'error: {tool} failed; its output is in {log}.')
    return not process.returncode
