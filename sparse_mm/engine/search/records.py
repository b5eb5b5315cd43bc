"""What a search has scored so far, and its file: written whole after every evaluation."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.ranks import on_main_process
from sparse_mm.errors import BadInputError
from sparse_mm.search.space import Candidate

FORMAT = 'sparse_mm search, version 1'


@dataclass(frozen=True)
class Record:
    """One evaluation.

    Attributes:
        ratios: The candidate.
        num_images: On how many validation images.
        score: The metric, at full precision; higher is better.
        role: ``'dense'``, ``'uniform'``, ``'population'`` or ``'final'``: why it was scored.
        budget: For which budget, by its place in the list; -1 for those that serve all.
        generation: Of the evolution, from 1; 0 for other roles.
    """

    ratios: Candidate
    num_images: int
    score: float
    role: str
    budget: int
    generation: int


class Records:
    """All evaluations of a search, in their order, and what was measured of its finalists.

    Args:
        path: Of the state file.
        fingerprint: What the search depends on; a file with another one is refused.
    """

    def __init__(self, path: Path, fingerprint: dict[str, Any]) -> None:
        self.path = path
        self.fingerprint = json.loads(json.dumps(fingerprint))
        self.all: list[Record] = []
        self.measured_ms: dict[Candidate, float] = {}
        self._by_key: dict[tuple[Candidate, int], Record] = {}

    def load(self) -> None:
        """Reads the file, on all ranks what rank 0 reads; nothing happens where there is none.

        Raises:
            BadInputError: It belongs to another search, or cannot be read.
        """
        state = on_main_process(self._read)
        if state is None:
            return
        for values in state['records']:
            values['ratios'] = _candidate(values['ratios'])
            self._keep(Record(**values))
        self.measured_ms = {_candidate(ratios): ms for ratios, ms in state['measured_ms']}

    def _read(self) -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        advice = 'choose another work directory, or move this file away to search again'
        try:
            state = json.loads(self.path.read_text())
        except (OSError, ValueError) as error:
            raise BadInputError(
                f'{str(self.path)!r} cannot be read ({error}); {advice}.'
            ) from error
        if not isinstance(state, dict) or state.get('format') != FORMAT:
            raise BadInputError(f'{str(self.path)!r} is not the state of a search; {advice}.')
        saved = state['fingerprint']
        for name, value in self.fingerprint.items():
            if saved.get(name) != value:
                raise BadInputError(
                    f'{str(self.path)!r} is the state of a search with another {name} '
                    f'({saved.get(name)} instead of {value}); {advice}.'
                )
        return state

    def find(self, ratios: Candidate, num_images: int) -> Record | None:
        """The evaluation of a candidate on so many images, if it was made."""
        return self._by_key.get((ratios, num_images))

    def add(self, record: Record) -> None:
        """Keeps one evaluation."""
        self._keep(record)

    def save(self) -> None:
        """Writes the file, on rank 0."""
        if not is_main_process():
            return
        state = dict(
            format=FORMAT,
            fingerprint=self.fingerprint,
            records=[vars(record) for record in self.all],
            measured_ms=list(self.measured_ms.items()),
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(state))

    def _keep(self, record: Record) -> None:
        self.all.append(record)
        self._by_key[record.ratios, record.num_images] = record


def _candidate(ratios: list[list[float]]) -> Candidate:
    return tuple(tuple(stage) for stage in ratios)
