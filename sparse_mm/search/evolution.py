"""Evolution of ratios: half mutations, half crossovers of the best (SparseViT, section 3.3).

Beside the paper's strategy there are independent draws, and a surrogate: a Gaussian process over
all scores chooses which of many draws and offspring are worth an evaluation.

Each generation follows from the seed, its number and the scores so far, by a random generator of
its own. So the scores are the whole state: a search that was interrupted anywhere gets the known
scores and continues exactly as it would have.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from sparse_mm.errors import BadInputError
from sparse_mm.search.space import Candidate, RatioSpace
from sparse_mm.search.surrogate import GaussianProcess, rank_by_prediction

# Draws for each candidate still missing before rejection sampling gives way to walking into the
# budget.
PATIENCE = 100
# Candidates that each round adds to those the surrogate chooses from, and draws for each of them.
POOL = 400
POOL_PATIENCE = 4

STRATEGIES = ('evolution', 'random', 'surrogate')


@dataclass(frozen=True)
class EvolutionSettings:
    """How to search.

    Attributes:
        evaluations: Candidates to score in all.
        population: Candidates of a generation.
        parents: How many of the best so far mutate and cross.
        mutation: Probability of redrawing a gene.
        strategy: ``'evolution'``; ``'random'`` for independent draws; or ``'surrogate'``, where a
            Gaussian process chooses among draws and offspring by upper confidence bound.
        seed: Start of all random numbers.
    """

    evaluations: int = 1000
    population: int = 100
    parents: int = 25
    mutation: float = 0.1
    strategy: str = 'evolution'
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            BadInputError: One is out of range.
        """
        for name in ('evaluations', 'population', 'parents'):
            if getattr(self, name) < 1:
                raise BadInputError(
                    f'{name} of the search must be at least 1, not {getattr(self, name)}.'
                )
        if not 0 < self.mutation <= 1:
            raise BadInputError(f'mutation must be above 0 and at most 1, not {self.mutation}.')
        if self.strategy not in STRATEGIES:
            raise BadInputError(
                f"strategy is 'surrogate', 'evolution' or 'random', not {self.strategy!r}."
            )

    @property
    def batch(self) -> int:
        """Candidates asked for at a time: ``population``, and at most a tenth for the surrogate.

        It learns from a batch only for the next one. The result does not depend on the number of
        processes.
        """
        if self.strategy != 'surrogate':
            return self.population
        return min(self.population, max(1, self.evaluations // 10))


class Evolution:
    """A search for the candidate with the highest score within a budget.

    Call :meth:`ask` for candidates and :meth:`tell` with each one's score, until ``ask`` gives no
    more.

    Args:
        space: The candidates.
        excess: How far a candidate is above (positive) or below (negative) the budget; 0 inside. It
            must not increase with a ratio.
        settings: How to search.
        known: Scores of other candidates, within the budget or not, from which the surrogate also
            learns. Other strategies ignore them.
    """

    def __init__(
        self,
        space: RatioSpace,
        excess: Callable[[Candidate], float],
        settings: EvolutionSettings,
        known: Mapping[Candidate, float] | None = None,
    ) -> None:
        self.space = space
        self.excess = excess
        self.settings = settings
        self.known = dict(known or {}) if settings.strategy == 'surrogate' else {}
        self.scores: dict[Candidate, float] = {}
        self.generation = 0
        self.pending: list[Candidate] = []
        self.draws = 0
        self.feasible_draws = 0

    def ask(self) -> list[Candidate]:
        """Gives the candidates of the current generation that have no score yet.

        Returns:
            They differ from all earlier ones. Empty when the search is over: by its settings, or
            because the budget leaves no other candidate.
        """
        waiting = [candidate for candidate in self.pending if candidate not in self.scores]
        missing = self.settings.evaluations - len(self.scores)
        if not waiting and missing > 0:
            rng = Random(f'{self.settings.seed} {self.generation}')
            self.pending = self._breed(min(self.settings.batch, missing), rng)
            self.generation += 1
            waiting = list(self.pending)
        return waiting

    def tell(self, candidate: Candidate, score: float) -> None:
        """Takes the score of a candidate; higher is better."""
        self.scores[candidate] = score

    def best(self, count: int = 1) -> list[Candidate]:
        """The candidates with the highest scores, the earlier first among equals.

        For the surrogate, those with the highest predictions, because the highest of many noisy
        scores is usually too high by chance.
        """
        return self._ranked(self.scores)[:count]

    def _ranked(self, scores: Mapping[Candidate, float]) -> list[Candidate]:
        if self.settings.strategy == 'surrogate':
            return rank_by_prediction(self.space, {**self.known, **self.scores}, list(scores))
        return sorted(scores, key=lambda candidate: -scores[candidate])

    def _breed(self, count: int, rng: Random) -> list[Candidate]:
        found: dict[Candidate, None] = {}
        mutation = self.settings.mutation
        surrogate = self._surrogate()
        if surrogate is not None:
            pool = self._pool(surrogate, rng)
            found.update(dict.fromkeys(surrogate.choose(pool, count) if pool else []))
        parents = self.best(self.settings.parents) if self.settings.strategy == 'evolution' else []
        if parents:
            # Half of them; of a lone one chance decides, or nothing would ever be mutated.
            mutated = count // 2 + (rng.randrange(2) if count == 1 else 0)
            self._collect(
                lambda: self.space.mutate(rng.choice(parents), rng, mutation), mutated, found
            )
            self._collect(
                lambda: self.space.cross(rng.choice(parents), rng.choice(parents), rng),
                count,
                found,
            )
        # The first generation, and candidates that parents no longer provide.
        self._collect(lambda: self.space.draw(rng), count, found)
        self._collect(lambda: self._walk(rng), count, found)
        if not found and not self.scores and not self._known_inside():
            raise BadInputError(
                f'No setting was found within the budget among {self.draws} draws: widen its '
                'range, or give the search space more choices.'
            )
        return list(found)

    def _surrogate(self) -> GaussianProcess | None:
        """The process over all scores; None where there are too few, and for other strategies."""
        scores = {**self.known, **self.scores}
        finite = sum(map(math.isfinite, scores.values()))
        enough = finite > sum(self.space.num_pairs) + 1  # more than a linear function takes
        if self.settings.strategy != 'surrogate' or not enough:
            return None
        return GaussianProcess(self.space, scores)

    def _known_inside(self) -> dict[Candidate, float]:
        return {c: score for c, score in self.known.items() if not self.excess(c)}

    def _pool(self, surrogate: GaussianProcess, rng: Random) -> list[Candidate]:
        """What the surrogate chooses from: draws, then offspring of the best and most promising.

        Spaces of deep models have millions of candidates; the offspring climb towards the highest
        bound without visiting all.
        """
        settings, pool = self.settings, dict[Candidate, None]()
        self._collect(lambda: self.space.draw(rng), POOL, pool, POOL_PATIENCE)
        self._collect(lambda: self._walk(rng), max(len(pool), POOL // 4), pool, POOL_PATIENCE)
        best = self._ranked({**self._known_inside(), **self.scores})[: settings.parents]

        def offspring() -> Candidate:
            if rng.random() < 0.5:
                return self.space.mutate(rng.choice(parents), rng, settings.mutation)
            return self.space.cross(rng.choice(parents), rng.choice(parents), rng)

        for _ in range(2):
            found = list(pool)
            promising = surrogate.choose(found, settings.parents) if found else []
            parents = best + promising
            if parents:
                self._collect(offspring, len(pool) + POOL, pool, POOL_PATIENCE)
        return list(pool)

    def _collect(
        self,
        propose: Callable[[], Candidate | None],
        count: int,
        found: dict[Candidate, None],
        patience: int = PATIENCE,
    ) -> None:
        """Proposes until ``count`` are found; ends in any case."""
        for _ in range(patience * max(count - len(found), 0)):
            if len(found) >= count:
                return
            candidate = propose()
            self.draws += 1
            if candidate is None or self.excess(candidate):
                continue
            self.feasible_draws += 1
            if candidate not in self.scores and candidate not in self.known:
                found[candidate] = None

    def _walk(self, rng: Random) -> Candidate | None:
        """Draws a candidate and prunes it more or less, gene by gene, until it fits the budget."""
        candidate: Candidate | None = self.space.draw(rng)
        for _ in range(sum(map(len, self.space.choices)) * max(self.space.num_pairs)):
            if candidate is None:
                return None
            excess = self.excess(candidate)
            if not excess:
                return candidate
            candidate = self.space.step(candidate, rng, up=excess > 0)
        return None
