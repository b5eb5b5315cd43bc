"""What a search has scored so far, and its file: written whole after every evaluation.

The file is used again only if it is complete and everything that its scores depend on is unchanged.
Otherwise it is renamed and the search starts again; nothing is deleted, and the log says why.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from sparse_mm.engine.files import set_aside, write_atomically
from sparse_mm.engine.search.identity import differing
from sparse_mm.errors import BadInputError
from sparse_mm.ranks import on_main_process
from sparse_mm.search.score_errors import error_of_difference, standard_error, unpack
from sparse_mm.search.space import Candidate

FORMAT = 'sparse_mm search, version 3'
# Has no scores by images; its others still stand.
FORMER = 'sparse_mm search, version 2'
# Other files of a search, which must not be mistaken for results of the next one.
RESULTS = ('best*.json', 'history.csv', 'pareto.png', 'start.pth')


@dataclass(frozen=True)
class Record:
    """One evaluation.

    Attributes:
        ratios: The candidate.
        num_images: On how many validation images.
        score: The metric, at full precision; higher is better. Minus infinity where there is none.
        role: ``'dense'``, ``'uniform'``, ``'population'`` or ``'final'``: the reason for its
            scoring.
        budget: For which budget, by its place in the list; -1 for those that serve all.
        generation: Of the evolution, from 1; 0 for other roles.
        failure: Why there is no score: ``'out of memory'``; empty where there is one.
        by_images: The score for each image or part of the images, see
            :mod:`sparse_mm.search.score_errors`, as text; empty where the metric has none.
    """

    ratios: Candidate
    num_images: int
    score: float
    role: str
    budget: int
    generation: int
    failure: str = ''
    by_images: str = ''

    @property
    def values(self) -> np.ndarray | None:
        """``(G,)`` the score for each image or part of the images; None where there is none."""
        return unpack(self.by_images)

    @property
    def error(self) -> float:
        """The score's standard error; NaN where it is not known."""
        values = self.values
        return math.nan if values is None else standard_error(values)

    def error_beside(self, other: 'Record') -> float:
        """The standard error of the difference from another score on the same images, or NaN."""
        own, others = self.values, other.values
        if own is None or others is None or self.num_images != other.num_images:
            return math.nan
        return error_of_difference(own, others)

    def to_json(self) -> dict[str, Any]:
        """Plain values; a missing score is None, since JSON has no infinity."""
        return {**vars(self), 'score': self.score if math.isfinite(self.score) else None}

    @classmethod
    def from_json(cls, values: Any) -> 'Record':
        """Reads what :meth:`to_json` gives.

        Raises:
            ValueError: It is something else.
        """
        own = set(cls.__dataclass_fields__)
        if not isinstance(values, dict) or set(values) != own:
            raise ValueError('a record with other fields')
        score = values['score']
        numbers = [values[name] for name in ('num_images', 'budget', 'generation')]
        texts = [values[name] for name in ('role', 'failure', 'by_images')]
        if not all(type(number) is int for number in numbers) or not all(
            isinstance(text, str) for text in texts
        ):
            raise ValueError('a record with values of other types')
        if score is not None and (not _is_real(score) or not math.isfinite(score)):
            raise ValueError(f'the score {score!r}')
        unpack(values['by_images'])
        filled = dict(values, score=-math.inf if score is None else float(score))
        return cls(**{**filled, 'ratios': _candidate(values['ratios'])})


class Records:
    """All evaluations of a search, in their order, and what was measured of its finalists.

    Args:
        path: Of the state file.
        identity: What the scores depend on; a file of another identity is set aside.
        say: Takes sentences for the log.
    """

    def __init__(self, path: Path, identity: dict[str, Any], say: Callable[[str], None]) -> None:
        self.path = path
        self.identity = json.loads(json.dumps(identity))
        self.say = say
        self.all: list[Record] = []
        self.measured_ms: dict[Candidate, float] = {}
        self.loaded = 0  # how many came from the file
        self.loaded_from = ''  # the file and its date, in words
        self._by_key: dict[tuple[Candidate, int], Record] = {}

    def load(self) -> None:
        """Loads the file if there is one: rank 0 reads it and sends it to all ranks.

        Raises:
            BadInputError: It cannot be read or renamed, for its rights or its disk.
        """
        state, said = on_main_process(self._take_up)
        for sentence in said:
            self.say(sentence)
        if state is None:
            return
        records, measured, self.loaded_from = state
        for record in records:
            self.add(record)
        self.measured_ms = measured
        self.loaded = len(self.all)

    def saved_identity(self) -> dict[str, Any] | None:
        """What the scores in the file depend on; None where there is no such file."""
        try:
            return self._read()['identity']
        except (BadInputError, FileNotFoundError, ValueError):
            return None

    def _take_up(self) -> tuple[Any, list[str]]:
        try:
            state = self._read()
        except FileNotFoundError:
            left = self._set_results_aside('earlier')  # of a search whose state is gone
            return None, [f'Results without a state.json are set aside: {left}.'] if left else []
        except ValueError as error:
            kept = set_aside(self.path, 'unreadable')
            self._set_results_aside('unreadable')
            return None, [
                f'{self.path} is no state of a search ({error}): it is now {kept.name}, and the '
                'search starts again.'
            ]
        parts = differing(state['identity'], self.identity)
        if parts:
            kept = set_aside(self.path, 'earlier')
            self._set_results_aside('earlier')
            return None, [
                f'{self.path} is of a search with another {", ".join(parts)}: it is now '
                f'{kept.name}, and the search starts again.'
            ]
        records, measured = state['records'], state['measured_ms']
        since = time.strftime('%Y-%m-%d %H:%M', time.localtime(self.path.stat().st_mtime))
        loaded_from = f'{self.path.name} of {since}'
        return (records, measured, loaded_from), [
            f'{len(records)} scores of {loaded_from} still stand: what they depend on is the same.'
        ]

    def _read(self) -> dict[str, Any]:
        """Reads and checks the whole file.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is damaged, edited, or of another version.
            BadInputError: It cannot be opened.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise BadInputError(
                f'{str(self.path)!r} cannot be read ({error.strerror}); see to its rights and its '
                'disk, or choose another work directory.'
            ) from error
        try:
            state = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ValueError('it is truncated or not JSON') from error
        if not isinstance(state, dict) or not isinstance(state.get('format'), str):
            raise ValueError('it has no format')
        if state['format'] not in (FORMAT, FORMER):
            raise ValueError(f'its format is {state["format"][:80]!r}, not {FORMAT!r}')
        if state.pop('checksum', None) != _checksum(state):
            raise ValueError('it was edited or damaged: its checksum differs')
        try:
            former = dict(by_images='') if state['format'] == FORMER else {}
            records = [Record.from_json({**values, **former}) for values in state['records']]
            measured = {_candidate(ratios): float(ms) for ratios, ms in state['measured_ms']}
            identity = dict(state['identity'])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'it holds something else: {error}') from error
        return dict(records=records, measured_ms=measured, identity=identity)

    def _set_results_aside(self, mark: str) -> str:
        kept = [
            set_aside(path, mark).name
            for pattern in RESULTS
            for path in sorted(self.path.parent.glob(pattern))
        ]
        return ', '.join(kept)

    def find(self, ratios: Candidate, num_images: int) -> Record | None:
        """The evaluation of a candidate on so many images, if it was made."""
        return self._by_key.get((ratios, num_images))

    def add(self, record: Record) -> None:
        """Keeps one evaluation."""
        self.all.append(record)
        self._by_key[record.ratios, record.num_images] = record

    def save(self) -> None:
        """Writes the file on rank 0; all ranks fail together if that fails.

        Raises:
            BadInputError: It cannot be written.
        """
        on_main_process(self._write)

    def _write(self) -> None:
        state = dict(
            format=FORMAT,
            identity=self.identity,
            records=[record.to_json() for record in self.all],
            measured_ms=list(self.measured_ms.items()),
        )
        state = json.loads(json.dumps(state))
        state['checksum'] = _checksum(state)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(state, allow_nan=False))


def _checksum(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _candidate(ratios: Any) -> Candidate:
    if not isinstance(ratios, list) or not all(
        isinstance(stage, list) and all(_is_real(ratio) for ratio in stage) for stage in ratios
    ):
        raise ValueError('ratios that are no lists of numbers')
    return tuple(tuple(stage) for stage in ratios)
