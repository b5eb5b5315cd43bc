"""Toy runs as processes: started, killed, and compared."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from sparse_mm.checkpoints import read_checkpoint
from tests.conftest import ROOT, free_port

TRAIN = ROOT / 'tools' / 'train.py'
SEARCH = ROOT / 'tools' / 'search.py'
ENVIRONMENT = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}


class Forks:
    """Starts command lines without importing everything for each (:mod:`tests.faults.forks`)."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / 'tests' / 'faults' / 'forks.py')],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert json.loads(self.process.stdout.readline()) == 'ready'

    def ask(self, **order: object) -> dict:
        """Sends a command; returns the answer."""
        self.process.stdin.write(json.dumps(order) + '\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """Ends it; the processes that it has started end by themselves."""
        self.process.stdin.close()
        self.process.wait()


class Run:
    """A command line of the tools in a folder, in one process or several.

    Args:
        forks: Starts it.
        folder: Where.
        *command: A script and its options.
        ranks: How many processes; they meet as torchrun's do, without its agent.
        folders: Where each of them runs instead, as if on a disk of its own.
        **env: Variables of its environment.
    """

    def __init__(
        self,
        forks: Forks,
        folder: Path,
        *command: object,
        ranks: int = 1,
        folders: Sequence[Path] | None = None,
        **env: str,
    ) -> None:
        self.forks = forks
        self.codes: list[int | None] = [None] * ranks
        self.logs = [folder / f'log{rank}.txt' for rank in range(ranks)]
        self.starts = [log.stat().st_size if log.exists() else 0 for log in self.logs]
        self.pids = []
        port = str(free_port())
        for rank, log in enumerate(self.logs):
            words, own = [str(word) for word in command], dict(env)
            if ranks > 1:
                words += ['--launcher', 'pytorch']
                own.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks))
                own.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
            where = folder if folders is None else folders[rank]
            order = dict(command=words, cwd=str(where), env=own, log=str(log))
            self.pids.append(forks.ask(**order)['pid'])

    def output(self, rank: int | None = None) -> str:
        """The output of one process, or of all of them."""
        chosen = range(len(self.logs)) if rank is None else [rank]
        return '\n'.join(self.logs[r].read_text()[self.starts[r] :] for r in chosen)

    def ended(self) -> bool:
        """Whether all processes have ended."""
        for rank, pid in enumerate(self.pids):
            if self.codes[rank] is None:
                self.codes[rank] = self.forks.ask(ended=pid)['code']
        return None not in self.codes

    def when(self, reached: Callable[[], bool], seconds: float = 120) -> bool:
        """Waits until a condition holds or the run has ended; returns whether it holds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.ended():
            if reached():
                return True
            time.sleep(0.01)
        return reached()

    def wait(self, seconds: float = 120) -> list[int | None]:
        """The exit codes of its processes; a run that hangs is killed, and fails the test."""
        if not self.when(self.ended, seconds):
            self.kill()
            raise AssertionError(f'hangs: {self.output()[-3000:]}')
        return self.codes

    def finish(self) -> str:
        """Waits for its successful end; returns its output."""
        codes = self.wait()
        assert not any(codes), f'{codes} {self.output()[-4000:]}'
        return self.output()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to each process that lives, with the loaders of its session."""
        for pid, code in zip(self.pids, self.codes, strict=True):
            if code is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        self.send(signal.SIGKILL)
        self.when(self.ended, 10)


def scored(work: Path) -> int:
    """How many scores the state of a run's search has."""
    try:
        return len(json.loads((work / 'sparsity_search' / 'state.json').read_text())['records'])
    except FileNotFoundError:
        return 0


def winner(work: Path) -> dict:
    """The winner of a run's search, without what is measured for people."""
    best = json.loads((work / 'sparsity_search' / 'best.json').read_text())
    best.pop('measured_latency', None)
    return best


def same_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoints have the same weights, bit by bit."""
    ours, theirs = (read_checkpoint(str(p))['state_dict'] for p in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def unfinished(work: Path) -> list[Path]:
    """Unfinished files of a killed process, and checkpoints that were moved aside."""
    return [p for p in work.rglob('*') if re.fullmatch(r'\..*\.\d+|.*\.replaced', p.name)]
