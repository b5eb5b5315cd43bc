"""Toy runs as processes: started, killed, and compared."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.conftest import ROOT

TRAIN = ROOT / 'tools' / 'train.py'
SEARCH = ROOT / 'tools' / 'search.py'
ENVIRONMENT = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}


def launch(ranks: int, port: int) -> list[str]:
    """How a command is started with so many processes."""
    if ranks == 1:
        return []
    return ['-m', 'torch.distributed.run', f'--nproc_per_node={ranks}', f'--master_port={port}']


class Run:
    """A command line of the tools in a folder, in a group of its own processes."""

    def __init__(self, folder: Path, *command: object, ranks: int = 1, port: int = 29650, **env):
        launcher = ['--launcher', 'pytorch'] if ranks > 1 else []
        self.log = (folder / 'log.txt').open('a+')
        self.start = self.log.seek(0, os.SEEK_END)
        self.process = subprocess.Popen(
            [sys.executable, *launch(ranks, port), *map(str, command), *launcher],
            cwd=folder,
            env={**ENVIRONMENT, **env},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def output(self) -> str:
        """What it has said so far."""
        self.log.seek(self.start)
        return self.log.read()

    def wait(self, seconds: float = 240) -> int:
        """Its exit code; a run that hangs is killed, and fails the test."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f'hangs: {self.output()[-3000:]}') from None

    def finish(self) -> str:
        """Waits for its good end; gives what it said."""
        code = self.wait()
        assert code == 0, self.output()[-4000:]
        return self.output()

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def when(self, reached, seconds: float = 120) -> bool:
        """Waits until something is so, or the run has ended; says whether it is so."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if reached():
                return True
            time.sleep(0.005)
        return bool(reached())


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
    ours, theirs = (torch.load(p, weights_only=True)['state_dict'] for p in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
