"""The result of each kill: printed lines, and a table."""

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

WORDS = dict(
    exchange='communication of the processes',
    step='training step',
    drawn='before the plot is drawn',
    measured='before latencies are measured',
)
EVENTS = {
    'open': '{} opened for writing',
    'os.rename': '{} half written, before it is renamed',
    'os.remove': 'before {} is removed',
}


def in_words(moment: str) -> str:
    """A readable name of a moment of :mod:`tests.faults.moments`."""
    event, _, name = moment.partition(' ')
    return EVENTS[event].format(f'`{name}`') if name else WORDS[moment]


def resumed_from(output: str) -> str:
    """Where a resumed run continues, by its log."""
    epoch = re.search(r'resumed epoch: (\d+)', output)
    scores = re.search(r'(\d+) scores of state\.json', output)
    found = f'epoch {epoch[1]}' if epoch else 'the beginning'
    return f'{found}, {scores[1]} scores' if scores else found


@dataclass
class KillTable:
    """Records one kill after the other.

    Args:
        processes: Of each run.
        total: How many kills there will be.
    """

    processes: int
    total: int
    rows: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def add(self, rank: int, moment: str, output: str, winner: bool, weights: bool) -> str:
        """Records one kill.

        Args:
            rank: The process that was killed.
            moment: When.
            output: What the resumed run has said.
            winner: Whether it came to the same winner.
            weights: Whether it came to the same weights.

        Returns:
            A line about it, with the time that the others will take.
        """
        told = [in_words(moment), f'process {rank}', resumed_from(output)]
        told += ['yes' if same else 'NO' for same in (winner, weights)]
        self.rows.append(f'| {" | ".join(told)} |')
        if not winner or not weights:
            self.failed.append(f'{self.rows[-1]}\n{output[-4000:]}')
        done = len(self.rows)
        left = (time.monotonic() - self.begun) / done * (self.total - done)
        return f'{done} of {self.total}, {left:.0f} s left: {self.rows[-1]}'

    def text(self) -> str:
        """The table in Markdown, below a summary."""
        same, seconds = len(self.rows) - len(self.failed), time.monotonic() - self.begun
        processes = 'one process' if self.processes == 1 else f'{self.processes} processes'
        head = 'killed at', 'what was killed', 'resumed from', 'same winner', 'same weights'
        lines = [
            f'**{processes.capitalize()}**: the same end after {same} of {self.total} kills '
            f'({seconds:.0f} seconds).',
            '',
            f'| {" | ".join(head)} |',
            '| --- ' * len(head) + '|',
            *self.rows,
        ]
        return '\n'.join(lines) + '\n'

    def keep(self) -> None:
        """Prints the table, and writes it to the folder that ``FAULTS_TABLES`` names."""
        print(f'\n{self.text()}', flush=True)
        folder = os.environ.get('FAULTS_TABLES')
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f'kills_{self.processes}.md').write_text(self.text())
