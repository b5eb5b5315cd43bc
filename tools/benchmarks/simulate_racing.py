"""Simulates racing of candidates in a search, on generated landscapes.

Racing first scores a candidate on some images, compares it with the best one so far on the same
images, and drops it if it is clearly worse. The saved evaluations go to other candidates. The
landscapes are as steep and as noisy as the scores in docs/search_results.md; part of a score's
noise is that of the images, the same for every candidate. The regret is compared: how much better
than the winner the best candidate within the budget is, without noise, for the same total number
of images.
"""

import argparse
import math
from dataclasses import replace
from statistics import mean, stdev

import numpy as np

from sparse_mm.engine.command_line import finite, run, whole
from sparse_mm.errors import BadInputError
from sparse_mm.search.evolution import STRATEGIES, Evolution, EvolutionSettings
from sparse_mm.search.score_errors import error_of_difference
from sparse_mm.search.space import Candidate, RatioSpace

SPACE = RatioSpace.build((2, 2, 6, 2))
IMAGES = 50  # for a score
NOISE = 0.006 * math.sqrt(IMAGES)  # of one image: docs/search_results.md
EVALUATIONS = 80
BUDGET = 0.52, 0.55


class Landscape:
    """A smooth function of the ratios: each costs accuracy and saves time, by its own measure."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        slopes, saved = rng.exponential(1, 6), rng.uniform(0.5, 1.5, 6)
        self.square = 0.05 * slopes / slopes.sum() / 0.36
        self.pairs = rng.normal(0, 0.008, (6, 6))
        self.wave, self.phase = rng.normal(0, 3, 6), rng.uniform(0, 6)
        self.saved = saved / saved.sum()

    def scores(self, candidates: list[Candidate]) -> np.ndarray:
        """``(C,)`` without noise."""
        genes = _genes(candidates)
        together = np.einsum('ci,ij,cj->c', genes, self.pairs, genes)
        wave = 0.002 * np.sin(genes @ self.wave + self.phase)
        found: np.ndarray = 0.66 - genes**2 @ self.square + together + wave
        return found

    def excess(self, candidate: Candidate) -> float:
        """How far a candidate's cost is outside the budget."""
        cost = 1 - 0.8 * float(_genes([candidate])[0] @ self.saved)
        return max(cost - BUDGET[1], 0.0) or min(cost - BUDGET[0], 0.0)

    def optimum(self) -> float:
        """The best score within the budget."""
        everything = list(SPACE)
        costs = 1 - 0.8 * _genes(everything) @ self.saved
        inside = (costs >= BUDGET[0]) & (costs <= BUDGET[1])
        return float(self.scores(everything)[inside].max())


def _genes(candidates: list[Candidate]) -> np.ndarray:
    return np.array([sum(candidate, ()) for candidate in candidates])


def search(
    world: Landscape, strategy: str, seed: int, first: int, errors: float, common: float
) -> tuple[float, float]:
    """Searches once.

    Args:
        world: The landscape.
        strategy: How to search.
        seed: Of the search and the noise.
        first: Images after which a candidate may be dropped; 0 for no racing.
        errors: Standard errors of the difference that are clearly worse.
        common: Share of an image's noise that is the same for all candidates.

    Returns:
        The winner's score without noise, and the share of candidates that were dropped.
    """
    rng = np.random.default_rng([seed, STRATEGIES.index(strategy)])
    shared = rng.normal(0, math.sqrt(common), IMAGES)

    def score(truth: float) -> np.ndarray:
        return truth + NOISE * (shared + rng.normal(0, math.sqrt(1 - common), IMAGES))

    settings = EvolutionSettings(EVALUATIONS, 20, 8, 0.15, strategy, seed)
    evolution = Evolution(SPACE, world.excess, settings)
    if first:  # more candidates; asked for as many at a time as without racing
        batch = settings.batch
        more = EVALUATIONS * IMAGES // first
        evolution.settings = replace(settings, evaluations=more, population=batch)
    left, whole = EVALUATIONS * IMAGES, dict[Candidate, np.ndarray]()
    while left > 0 and (candidates := evolution.ask()):
        best = max(whole.values(), key=np.mean, default=None)
        for candidate, truth in zip(candidates, world.scores(candidates), strict=True):
            if left <= 0:
                break
            values = score(truth)
            if first and best is not None:
                behind = float(np.mean((best - values)[:first]))
                if behind > errors * error_of_difference(best[:first], values[:first]):
                    evolution.tell(candidate, float(best.mean()) - behind)
                    left -= first
                    continue
            whole[candidate] = values
            evolution.tell(candidate, float(values.mean()))
            left -= IMAGES
        else:
            continue
        break
    ranked = [c for c in evolution.best(len(evolution.scores)) if c in whole][:3]
    truths = world.scores(ranked)
    # Scored again on four times the images.
    again = truths + rng.normal(0, NOISE / math.sqrt(4 * IMAGES), len(ranked))
    return float(truths[int(np.argmax(again))]), 1 - len(whole) / len(evolution.scores)


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--worlds', type=whole, default=8, help='number of generated landscapes (default: 8)'
    )
    parser.add_argument(
        '--first', type=whole, default=12, help='images of the first scoring (default: 12)'
    )
    parser.add_argument(
        '--errors',
        type=finite,
        default=3.0,
        help='a candidate is dropped if it is worse by so many standard errors (default: 3)',
    )
    parser.add_argument(
        '--common',
        type=finite,
        nargs='+',
        default=[0.8],
        help='shares of the noise that all candidates have in common (default: 0.8)',
    )
    parser.add_argument(
        '--strategies',
        nargs='+',
        choices=STRATEGIES,
        default=list(STRATEGIES),
        help='strategies of the searches (default: all)',
    )
    return parser.parse_args()


def main() -> None:
    """Prints the table."""
    args = parse_args()
    if args.worlds < 2 or not 1 < args.first < IMAGES:
        raise BadInputError(
            f'--worlds must be at least 2 and --first between 2 and {IMAGES - 1}; they are '
            f'{args.worlds} and {args.first}.'
        )
    if not all(0 <= share <= 1 for share in args.common):
        raise BadInputError(f'--common must be between 0 and 1, not {args.common}.')
    print('| common noise | strategy | regret | with racing | gain ± standard error | dropped |')
    print('| --- | --- | --- | --- | --- | --- |')
    worlds = [Landscape(seed) for seed in range(args.worlds)]
    optima = [world.optimum() for world in worlds]
    for common in args.common:
        for strategy in args.strategies:
            plain, raced, dropped = [], [], []
            for seed, (world, best) in enumerate(zip(worlds, optima, strict=True)):
                plain.append(best - search(world, strategy, seed, 0, args.errors, common)[0])
                score, share = search(world, strategy, seed, args.first, args.errors, common)
                raced.append(best - score)
                dropped.append(share)
            gains = [before - after for before, after in zip(plain, raced, strict=True)]
            error = stdev(gains) / math.sqrt(len(gains))
            print(
                f'| {common:g} | {strategy} | {mean(plain):.4f} | {mean(raced):.4f} | '
                f'{mean(gains):+.4f} ± {error:.4f} | {mean(dropped):.0%} |',
                flush=True,
            )


if __name__ == '__main__':
    run(main)
