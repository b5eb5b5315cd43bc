"""The cost of a candidate: its exact MACs, and its latency from a measured table.

Both are sums with one term for each pair of blocks, made once, so a candidate costs microseconds.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sparse_mm.errors import BadInputError
from sparse_mm.models.ratios import exact_ratio, num_kept
from sparse_mm.search.budget import UNITS, Budget
from sparse_mm.search.space import Candidate, RatioSpace

TABLE_FORMAT = 'sparse_mm latency table, version 1'


@dataclass(frozen=True)
class StageShape:
    """The properties of a stage that its cost depends on.

    Attributes:
        depth: Blocks.
        num_windows: Windows of one image.
        window_tokens: Tokens of a window.
        channels: Channels.
        hidden_channels: Hidden channels of the FFN.
        fixed_macs: MACs outside the blocks (patch merging), one image.
    """

    depth: int
    num_windows: int
    window_tokens: int
    channels: int
    hidden_channels: int
    fixed_macs: int

    def pair_sizes(self) -> list[int]:
        """Blocks in each pair: 2, and 1 in the last of an odd depth."""
        return [min(2, self.depth - first) for first in range(0, self.depth, 2)]

    def kept(self, ratio: float) -> int:
        """How many windows a ratio leaves."""
        return num_kept(self.num_windows, exact_ratio(ratio))

    def block_macs(self, ratio: float) -> int:
        """MACs of one block, one image: projections, both attention products, FFN."""
        per_token = (
            4 * self.channels**2
            + 2 * self.window_tokens * self.channels
            + 2 * self.channels * self.hidden_channels
        )
        return self.kept(ratio) * self.window_tokens * per_token


@dataclass(frozen=True)
class BackboneShape:
    """A backbone at one image size and batch.

    Attributes:
        image_size: ``(H, W)`` in pixels.
        batch: Images.
        stem_macs: MACs of the patch embedding, one image.
        stages: Its stages.
        in_channels: Channels of the images.
    """

    image_size: tuple[int, int]
    batch: int
    stem_macs: int
    stages: tuple[StageShape, ...]
    in_channels: int = 3


@dataclass(frozen=True)
class LatencyTable:
    """Measured milliseconds of a backbone's components (:mod:`sparse_mm.search.timing` makes it).

    Attributes:
        image_size: ``(H, W)`` in pixels.
        batch: Images.
        stem_ms: Everything outside the stages.
        stages: For each stage ``dense_ms`` and ``sparse_ms``, what it needs outside its blocks
            without and with ranking; and ``pairs``, for each pair a map from the kept windows of
            an image to milliseconds.
        windows: Windows of one image, for each stage.
        channels: Channels, for each stage.
        conditions: Device, dtype, threads, versions, rounds: for people; and ``spread``, how far
            two halves of the rounds disagree.
        checks: Settings measured whole in the same rounds, with their milliseconds.
    """

    image_size: tuple[int, int]
    batch: int
    stem_ms: float
    stages: list[dict[str, Any]]
    windows: list[int]
    channels: list[int]
    conditions: dict[str, Any] = field(default_factory=dict)
    checks: list[tuple[Candidate, float]] = field(default_factory=list)

    def to_json(self) -> str:
        """The table as text."""
        return json.dumps({'format': TABLE_FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def read(cls, path: str | Path) -> 'LatencyTable':
        """Reads a table from a JSON file.

        Raises:
            BadInputError: There is none in it.
        """
        advice = 'make one with tools/analysis_tools/latency_table.py'
        try:
            values = json.loads(Path(path).read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise BadInputError(
                f'The latency table {str(path)!r} cannot be read ({error}); {advice}.'
            ) from error
        try:
            if values.pop('format') != TABLE_FORMAT:
                raise KeyError('format')
            values['image_size'] = tuple(values['image_size'])
            for stage in values['stages']:
                stage['pairs'] = [{int(k): ms for k, ms in pair.items()} for pair in stage['pairs']]
            table = cls(**values)
            table._check_values()
            return table
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise BadInputError(f'{str(path)!r} is not a latency table; {advice}.') from error

    def _check_values(self) -> None:
        """Checks that sizes are whole numbers and milliseconds are numbers that can be added.

        Raises:
            ValueError: One is something else.
        """
        counts = [*self.image_size, self.batch, *self.windows, *self.channels]
        times = [self.stem_ms]
        for stage in self.stages:
            times += [stage['dense_ms'], stage['sparse_ms']]
            times += [ms for pair in stage['pairs'] for ms in pair.values()]
        if len(self.image_size) != 2 or not all(type(count) is int for count in counts):
            raise ValueError('sizes')
        if not all(type(ms) in (int, float) and math.isfinite(ms) for ms in times):
            raise ValueError('milliseconds')
        if not isinstance(self.conditions, dict) or not isinstance(self.checks, list):
            raise ValueError('conditions')

    def check(self, shape: BackboneShape, space: RatioSpace) -> None:
        """Checks that the table is one of this backbone, at this size, with these choices.

        Raises:
            BadInputError: It is not.
        """
        own: dict[str, Any] = dict(
            image_size=tuple(shape.image_size),
            batch=shape.batch,
            windows=[stage.num_windows for stage in shape.stages],
            channels=[stage.channels for stage in shape.stages],
            pairs=[len(stage.pair_sizes()) for stage in shape.stages],
        )
        measured = dict(
            image_size=tuple(self.image_size),
            batch=self.batch,
            windows=list(self.windows),
            channels=list(self.channels),
            pairs=[len(stage['pairs']) for stage in self.stages],
        )
        for name, value in own.items():
            if measured[name] != value:
                raise BadInputError(
                    f'The latency table was measured for {name} {measured[name]}, the search needs '
                    f'{value}; measure again with tools/analysis_tools/latency_table.py.'
                )
        for i, (stage, choices) in enumerate(zip(shape.stages, space.choices, strict=True)):
            needed = {stage.kept(ratio) for ratio in (0.0, *choices)}
            for pair in self.stages[i]['pairs']:
                if not needed <= set(pair):
                    raise BadInputError(
                        f'The latency table lacks {sorted(needed - set(pair))} kept windows in '
                        f'stage {i}; measure again with the choices of this search.'
                    )


class CostModel:
    """Costs of candidates, in every unit of a budget.

    Args:
        shape: The backbone.
        space: The candidates.
        table: Measured latencies; None if only MACs are needed.
    """

    def __init__(
        self, shape: BackboneShape, space: RatioSpace, table: LatencyTable | None = None
    ) -> None:
        self.shape = shape
        self.table = table
        dense = space.dense
        ratios = [sorted({0.0, *choices}) for choices in space.choices]

        def terms(price: Callable[[int, int, float], float]) -> list[list[dict[float, float]]]:
            return [
                [{r: price(i, j, r) for r in ratios[i]} for j in range(pairs)]
                for i, pairs in enumerate(space.num_pairs)
            ]

        sizes = [stage.pair_sizes() for stage in shape.stages]
        self._macs = terms(
            lambda i, j, r: shape.batch * sizes[i][j] * shape.stages[i].block_macs(r)
        )
        self._fixed_macs = shape.batch * (
            shape.stem_macs + sum(stage.fixed_macs for stage in shape.stages)
        )
        self.dense_macs = self.macs(dense)
        if table is not None:
            table.check(shape, space)
            stages = table.stages
            self._ms = terms(lambda i, j, r: stages[i]['pairs'][j][shape.stages[i].kept(r)])
            self.dense_ms = self.ms(dense)

    def macs(self, candidate: Candidate) -> int:
        """MACs of the backbone for the whole batch."""
        return self._fixed_macs + int(_total(self._macs, candidate))

    def ms(self, candidate: Candidate) -> float:
        """Milliseconds of the backbone for the whole batch: the sum of its components.

        Raises:
            ValueError: The model has no table.
        """
        if self.table is None:
            raise ValueError('This cost model has no latency table.')
        # A stage ranks its windows where any pair leaves some out.
        overheads = sum(
            part['sparse_ms' if stage[-1] > 0 else 'dense_ms']
            for part, stage in zip(self.table.stages, candidate, strict=True)
        )
        return self.table.stem_ms + overheads + _total(self._ms, candidate)

    def cost(self, candidate: Candidate, unit: str) -> float:
        """The cost in a unit of :data:`~sparse_mm.search.budget.UNITS`."""
        if unit == 'gmacs':
            return self.macs(candidate) / 1e9
        if unit == 'macs':
            return self.macs(candidate) / self.dense_macs
        return self.ms(candidate) / (1.0 if unit == 'ms' else self.dense_ms)

    def check_reachable(self, budget: Budget, space: RatioSpace) -> None:
        """Checks that the budget can be reached in the space.

        Raises:
            BadInputError: They do not; the message names the range that can be reached.
        """
        lowest, highest = sorted(self.cost(c, budget.unit) for c in (space.most, space.least))
        if budget.max < lowest or budget.min > highest:
            reachable = UNITS[budget.unit].format(f'{lowest:.4g} to {highest:.4g}')
            raise BadInputError(
                f'The budget ({budget}) cannot be met: the search space reaches {reachable}; '
                'change the budget, or the choices and limits of the space.'
            )


def _total(terms: Sequence[Sequence[dict[float, float]]], candidate: Candidate) -> float:
    return sum(
        term[ratio]
        for stage, ratios in zip(terms, candidate, strict=True)
        for term, ratio in zip(stage, ratios, strict=True)
    )
