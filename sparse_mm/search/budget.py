"""The budget of a search, in one of four units."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from sparse_mm.errors import BadInputError

UNITS = {
    'latency': '{} of the dense latency',
    'ms': '{} ms',
    'macs': '{} of the dense MACs',
    'gmacs': '{} GMACs',
}


@dataclass(frozen=True)
class Budget:
    """The range of costs that a search allows.

    Attributes:
        unit: ``'latency'`` or ``'macs'`` (relative to the dense backbone: 0.7), ``'ms'`` or
            ``'gmacs'`` (for the batch of the search).
        max: Largest cost.
        min: Smallest cost.
    """

    unit: str
    max: float = math.inf
    min: float = 0.0

    @classmethod
    def parse(cls, given: Any) -> 'Budget':
        """Reads a budget.

        Args:
            given: ``dict(unit='latency', max=0.7)``, perhaps with ``min``; or a string as on the
                command line: ``'latency=0.7'``, ``'gmacs=90..116.5'``.

        Raises:
            BadInputError: It is neither, or the range is empty.
        """
        if isinstance(given, Budget):
            return given
        known = f'the units are {", ".join(UNITS)}, as in latency=0.7 or gmacs=90..116.5'
        if isinstance(given, str):
            found = re.fullmatch(r'(\w+)=(?:([\d.]+)\.\.)?([\d.]+)', given.strip())
            if not found:
                raise BadInputError(f'The budget {given!r} cannot be read; {known}.')
            try:
                given = dict(unit=found[1], min=float(found[2] or 0), max=float(found[3]))
            except ValueError as error:
                raise BadInputError(f'The budget {given!r} cannot be read; {known}.') from error
        if not isinstance(given, Mapping) or given.get('unit') not in UNITS:
            raise BadInputError(f'The budget {given!r} cannot be read; {known}.')
        unknown = set(given) - {'unit', 'min', 'max'}
        limits = [value for key, value in given.items() if key != 'unit']
        if unknown or not limits or not all(isinstance(value, Real) for value in limits):
            raise BadInputError(
                f'The budget {dict(given)!r} needs unit and numbers for max, min or both; {known}.'
            )
        budget = cls(given['unit'], float(given.get('max', math.inf)), float(given.get('min', 0)))
        if not 0 <= budget.min <= budget.max or budget.max <= 0:
            raise BadInputError(
                f'The budget {budget} allows nothing: min is above max, or below 0.'
            )
        return budget

    def excess(self, cost: float) -> float:
        """How much a cost is above (positive) or below (negative) the range; 0 inside it."""
        return max(cost - self.max, 0.0) or min(cost - self.min, 0.0)

    def __str__(self) -> str:
        """In words: ``at most 0.7 of the dense latency``."""
        if self.min <= 0:
            limits = f'at most {self.max:g}'
        elif math.isinf(self.max):
            limits = f'at least {self.min:g}'
        else:
            limits = f'{self.min:g} to {self.max:g}'
        return UNITS[self.unit].format(limits)

    @property
    def slug(self) -> str:
        """For names of files: ``latency-0.7``."""
        low = f'{self.min:g}-' if self.min > 0 else ''
        return f'{self.unit}-{low}{self.max:g}'
