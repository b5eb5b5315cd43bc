"""The search space: valid ratios of each stage, mutation and crossover.

A candidate has one ratio per pair of W-MSA and SW-MSA blocks, not decreasing inside a stage
(SparseViT, Chen et al., CVPR 2023, section 3.3): for Swin-T with choices 0, 0.1, …, 0.8 these are
1 + 1 + 3 + 1 genes and 120 285 points.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from random import Random
from typing import TypeAlias

from sparse_mm.errors import BadInputError
from sparse_mm.models.ratios import exact_ratio, num_kept

Candidate: TypeAlias = tuple[tuple[float, ...], ...]
"""One ratio per pair of blocks, stage by stage: what ``pruning_ratios`` takes."""

CHOICES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class RatioSpace:
    """The ratios that each stage may use.

    Attributes:
        num_pairs: Pairs of blocks in each stage; a single last block counts as one.
        choices: The ratios of each stage, ascending.
    """

    num_pairs: tuple[int, ...]
    choices: tuple[tuple[float, ...], ...]

    @classmethod
    def build(
        cls,
        depths: Sequence[int],
        choices: Sequence[float] = CHOICES,
        stage_limits: Sequence[float | Sequence[float]] | None = None,
    ) -> 'RatioSpace':
        """Makes the space of a backbone.

        Args:
            depths: Blocks of each stage.
            choices: The ratios to choose from. Defaults to 0, 0.1, …, 0.8.
            stage_limits: For each stage the largest ratio, or (smallest, largest). Defaults to no
                limits.

        Raises:
            BadInputError: A choice is outside [0, 1), the number of limits is not that of the
                stages, or a stage is left without a choice.
        """
        numbers = [choice for choice in choices if isinstance(choice, (int, float))]
        if not numbers or len(numbers) != len(choices) or not all(0 <= c < 1 for c in numbers):
            raise BadInputError(
                'The choices of the search space must be ratios of at least 0 and less than 1, '
                f'not {list(choices)}.'
            )
        values = tuple(sorted({float(choice) for choice in numbers}))
        if stage_limits is None:
            stage_limits = [values[-1]] * len(depths)
        if len(stage_limits) != len(depths):
            raise BadInputError(
                f'stage_limits has {len(stage_limits)} entries, the backbone has {len(depths)} '
                'stages.'
            )
        allowed = []
        for stage, limit in enumerate(stage_limits):
            low, high = (0.0, limit) if isinstance(limit, (int, float)) else limit
            allowed.append(tuple(value for value in values if low <= value <= high))
            if not allowed[-1]:
                raise BadInputError(
                    f'stage_limits leave stage {stage} no ratio: none of {list(values)} lies '
                    f'between {low} and {high}.'
                )
        return cls(tuple((depth + 1) // 2 for depth in depths), tuple(allowed))

    def distinct(self, num_windows: Sequence[int]) -> 'RatioSpace':
        """Drops ratios that keep as many windows as a smaller one.

        Args:
            num_windows: Windows of each stage. On images of another size the candidates dropped may
                differ, so this is for images of one size.
        """
        choices = []
        for windows, stage in zip(num_windows, self.choices, strict=True):
            # From the largest down, so that of equals the smallest ratio stays.
            kept = {num_kept(windows, exact_ratio(ratio)): ratio for ratio in reversed(stage)}
            choices.append(tuple(sorted(kept.values())))
        return RatioSpace(self.num_pairs, tuple(choices))

    def __len__(self) -> int:
        """The number of candidates."""
        stages = zip(self.num_pairs, self.choices, strict=True)
        return math.prod(math.comb(len(c) + pairs - 1, pairs) for pairs, c in stages)

    def __contains__(self, candidate: object) -> bool:
        """Whether a candidate satisfies all constraints."""
        if not isinstance(candidate, tuple) or len(candidate) != len(self.num_pairs):
            return False
        return all(
            len(stage) == pairs and list(stage) == sorted(stage) and set(stage) <= set(choices)
            for stage, pairs, choices in zip(candidate, self.num_pairs, self.choices, strict=True)
        )

    def __iter__(self) -> Iterator[Candidate]:
        """All candidates, the least pruned first within each stage."""
        stages = zip(self.num_pairs, self.choices, strict=True)
        return product(*(combinations_with_replacement(c, pairs) for pairs, c in stages))

    def read(self, ratios: Sequence[Sequence[float]]) -> Candidate:
        """Turns lists, as JSON gives them, into a candidate.

        Raises:
            BadInputError: It is not in the space.
        """
        candidate = tuple(tuple(float(ratio) for ratio in stage) for stage in ratios)
        if candidate not in self:
            raise BadInputError(f'The ratios {ratios} are not in the search space.')
        return candidate

    @property
    def dense(self) -> Candidate:
        """Ratio 0 everywhere, whether or not the space has it."""
        return tuple((0.0,) * pairs for pairs in self.num_pairs)

    @property
    def least(self) -> Candidate:
        """The candidate that prunes least."""
        return tuple((c[0],) * n for n, c in zip(self.num_pairs, self.choices, strict=True))

    @property
    def most(self) -> Candidate:
        """The candidate that prunes most."""
        return tuple((c[-1],) * n for n, c in zip(self.num_pairs, self.choices, strict=True))

    def uniform(self) -> list[Candidate]:
        """The candidates with one ratio everywhere, least pruned first.

        Where a stage does not allow the ratio, it has the next smaller one that it does, or its
        smallest.
        """
        ratios = sorted({choice for choices in self.choices for choice in choices})
        found = (
            tuple(
                (max((choice for choice in choices if choice <= ratio), default=choices[0]),)
                * pairs
                for pairs, choices in zip(self.num_pairs, self.choices, strict=True)
            )
            for ratio in ratios
        )
        return list(dict.fromkeys(found))

    def draw(self, rng: Random) -> Candidate:
        """Draws every gene uniformly and sorts each stage (the draw of the adaptation, too)."""
        return tuple(
            tuple(sorted(rng.choice(choices) for _ in range(pairs)))
            for pairs, choices in zip(self.num_pairs, self.choices, strict=True)
        )

    def mutate(self, candidate: Candidate, rng: Random, probability: float) -> Candidate:
        """Redraws each gene with a probability; sorts each stage again."""
        return tuple(
            tuple(sorted(rng.choice(choices) if rng.random() < probability else r for r in stage))
            for stage, choices in zip(candidate, self.choices, strict=True)
        )

    def cross(self, first: Candidate, second: Candidate, rng: Random) -> Candidate:
        """Takes each gene from one of two parents; sorts each stage again."""
        return tuple(
            tuple(sorted(rng.choice(genes) for genes in zip(a, b, strict=True)))
            for a, b in zip(first, second, strict=True)
        )

    def step(self, candidate: Candidate, rng: Random, up: bool) -> Candidate | None:
        """Moves one gene to the next larger or smaller ratio; None where none can move."""
        genes = [(i, j) for i, stage in enumerate(candidate) for j in range(len(stage))]
        rng.shuffle(genes)
        for i, j in genes:
            position = self.choices[i].index(candidate[i][j]) + (1 if up else -1)
            if 0 <= position < len(self.choices[i]):
                stage = list(candidate[i])
                stage[j] = self.choices[i][position]
                return (*candidate[:i], tuple(sorted(stage)), *candidate[i + 1 :])
        return None
