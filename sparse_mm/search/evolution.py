"""Evolution of ratios: half mutations, half crossovers of the best (SparseViT, section 3.3).

Each generation follows from the seed, its number and the scores so far, by a random generator of
its own. So the scores are the whole state: a search that was interrupted anywhere is asked again,
told the scores that are known, and goes on exactly as it would have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from sparse_mm.errors import BadInputError
from sparse_mm.search.space import Candidate, RatioSpace

# Draws for each candidate still missing before rejection sampling gives way to walking into the
# budget.
PATIENCE = 100


@dataclass(frozen=True)
class EvolutionSettings:
    """How to search.

    Attributes:
        evaluations: Candidates to score in all.
        population: Candidates of a generation.
        parents: How many of the best so far mutate and cross.
        mutation: Probability of drawing a gene anew.
        strategy: ``'evolution'``, or ``'random'`` for independent draws.
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
        if self.strategy not in ('evolution', 'random'):
            raise BadInputError(f"strategy is 'evolution' or 'random', not {self.strategy!r}.")


class Evolution:
    """A search for the candidate with the highest score within a budget.

    Call :meth:`ask` for candidates and :meth:`tell` with each one's score, until ``ask`` gives no
    more.

    Args:
        space: The candidates.
        excess: How far a candidate is above (positive) or below (negative) the budget; 0 inside.
            It must not rise where a ratio rises.
        settings: How to search.
    """

    def __init__(
        self,
        space: RatioSpace,
        excess: Callable[[Candidate], float],
        settings: EvolutionSettings,
    ) -> None:
        self.space = space
        self.excess = excess
        self.settings = settings
        self.scores: dict[Candidate, float] = {}
        self.generation = 0
        self.pending: list[Candidate] = []
        self.draws = 0
        self.feasible_draws = 0

    def ask(self) -> list[Candidate]:
        """Gives the candidates of the current generation that have no score yet.

        Returns:
            They differ from all that were asked for before. Empty when the search is over: by its
            settings, or because the budget leaves no other candidate.
        """
        waiting = [candidate for candidate in self.pending if candidate not in self.scores]
        missing = self.settings.evaluations - len(self.scores)
        if not waiting and missing > 0:
            rng = Random(f'{self.settings.seed} {self.generation}')
            self.pending = self._breed(min(self.settings.population, missing), rng)
            self.generation += 1
            waiting = list(self.pending)
        return waiting

    def tell(self, candidate: Candidate, score: float) -> None:
        """Takes the score of a candidate; higher is better."""
        self.scores[candidate] = score

    def best(self, count: int = 1) -> list[Candidate]:
        """The candidates with the highest scores, the earlier first among equals."""
        return sorted(self.scores, key=lambda candidate: -self.scores[candidate])[:count]

    def _breed(self, count: int, rng: Random) -> list[Candidate]:
        found: dict[Candidate, None] = {}
        parents = self.best(self.settings.parents)
        if parents and self.settings.strategy == 'evolution':
            mutation = self.settings.mutation
            self._collect(
                lambda: self.space.mutate(rng.choice(parents), rng, mutation), count // 2, found
            )
            self._collect(
                lambda: self.space.cross(rng.choice(parents), rng.choice(parents), rng),
                count,
                found,
            )
        # The first generation; and what no parent has left to offer.
        self._collect(lambda: self.space.draw(rng), count, found)
        self._collect(lambda: self._walk(rng), count, found)
        if not found and not self.scores:
            raise BadInputError(
                f'No setting was found within the budget among {self.draws} draws: widen its '
                'range, or give the search space more choices.'
            )
        return list(found)

    def _collect(
        self, propose: Callable[[], Candidate | None], count: int, found: dict[Candidate, None]
    ) -> None:
        """Proposes until ``count`` are found; ends in any case."""
        for _ in range(PATIENCE * max(count - len(found), 0)):
            if len(found) >= count:
                return
            candidate = propose()
            self.draws += 1
            if candidate is None or self.excess(candidate):
                continue
            self.feasible_draws += 1
            if candidate not in self.scores:
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
