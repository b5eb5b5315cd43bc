"""Estimates whether evolution pays, by replaying searches many times on a model of measured scores.

One search costs hours of evaluations, so a few seeds are all that anybody compares, and chance
decides between ways of searching that are close. Here a quadratic function of the ratios is fitted
to the scores in the ``history.csv`` of searches that were done; what it leaves unexplained is the
noise of a score. On that function, with that noise, strategies search in seconds, hundreds of
times (the idea of surrogate benchmarks: Zela et al., NAS-Bench-301, ICLR 2022). It serves to choose
population, parents, mutation and the number of evaluations, too.
"""

import argparse
import csv
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path
from random import Random
from statistics import mean, stdev

import numpy as np
from tqdm import tqdm

from sparse_mm.engine.command_line import finite, read_config, run, whole
from sparse_mm.engine.image_sizes import usual_image_size, val_images_have_size
from sparse_mm.engine.inspection import backbone_shape, build_backbone, find_backbone
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.errors import BadInputError
from sparse_mm.search.budget import Budget
from sparse_mm.search.cost import CostModel, LatencyTable
from sparse_mm.search.evolution import STRATEGIES, Evolution, EvolutionSettings
from sparse_mm.search.space import Candidate, RatioSpace

RIDGE = 1e-6  # keeps the fit defined where genes hardly vary


def parse_args() -> argparse.Namespace:
    """Reads the command line; what is not given comes from the config's SparsitySearchHook."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of the searches')
    parser.add_argument('histories', nargs='+', help='their history.csv, all of one checkpoint')
    parser.add_argument(
        '--evaluations',
        type=whole,
        nargs='+',
        default=[40, 80, 160],
        help='settings to score for each budget (default: 40 80 160)',
    )
    parser.add_argument('--budget', nargs='+', help='as for tools/search.py')
    parser.add_argument('--latency-table', help='as for tools/search.py')
    parser.add_argument(
        '--other-table',
        help='latency table of another engine: also reports which setting is best by each of the '
        'tables, and its latency by the other',
    )
    parser.add_argument('--population', type=whole, help='as for tools/search.py')
    parser.add_argument('--parents', type=whole, help='as for tools/search.py')
    parser.add_argument('--mutation', type=finite, help='as for tools/search.py')
    parser.add_argument(
        '--strategies',
        nargs='+',
        choices=STRATEGIES,
        default=['random', 'evolution'],
        help='strategies, compared with the first one (default: random evolution); surrogate takes '
        'about a second for a replay',
    )
    parser.add_argument(
        '--seeds', type=whole, default=200, help='replays of each strategy (default: 200)'
    )
    return parser.parse_args()


def read_scores(
    histories: Sequence[str], space: RatioSpace
) -> tuple[list[Candidate], np.ndarray, np.ndarray]:
    """Reads what searches have scored on their few images; final scores on more are left out.

    A score that two searches share, since both began with the same candidates and images, counts
    once: another copy would seem to predict it. Searches that gave the dense model the same score
    took the same images.

    Returns:
        The candidates, their scores ``(S,)``, and ``(S,)`` int, the same for scores on the same
        images.

    Raises:
        BadInputError: A file is not a search's history, or one of another space.
    """
    found: dict[tuple[Candidate, float], int] = {}
    sources: dict[float | str, int] = {}  # by the dense score, where there is one
    for path in histories:
        try:
            with Path(path).open(newline='') as file:
                # Some settings have no score: memory ran out, or the metric was NaN.
                rows = [r for r in csv.DictReader(file) if r['role'] != 'final' and r['score']]
            scores: dict[Candidate, float] = {}
            for row in rows:
                # Dense is scored even where it lies outside the limits of the space.
                is_dense = row['role'] == 'dense'
                candidate = (
                    space.dense if is_dense else space.read(json.loads(row['pruning_ratios']))
                )
                scores[candidate] = float(row['score'])
        except (OSError, KeyError, ValueError) as error:
            raise BadInputError(f'{path!r} is not the history.csv of a search: {error}.') from error
        source = sources.setdefault(scores.get(space.dense, path), len(sources))
        for candidate, score in scores.items():
            found.setdefault((candidate, score), source)
    candidates, values = [candidate for candidate, _ in found], [score for _, score in found]
    return candidates, np.array(values), np.array(list(found.values()))


class ScoreModel:
    """A quadratic function of the ratios, with a constant of its own for each choice of images.

    Args:
        candidates: What was scored.
        scores: ``(S,)``, higher is better.
        sources: ``(S,)`` int, the same for scores on the same images.

    Attributes:
        error: Root mean square of the scores' distance from the model that is fitted without them.
        explained: Share of the variance of scores on the same images that it explains, so measured.

    Raises:
        BadInputError: There are too few scores for it.
    """

    def __init__(
        self, candidates: Sequence[Candidate], scores: np.ndarray, sources: np.ndarray
    ) -> None:
        if not candidates:
            raise BadInputError('The histories hold no scores; give those of searches that began.')
        groups = (sources[:, None] == np.unique(sources)).astype(float)  # (S, choices)
        features = self._features(candidates)  # (S, F)
        inputs = np.concatenate([groups, features], axis=1)
        if len(scores) < 2 * inputs.shape[1]:
            raise BadInputError(
                f'{len(scores)} scores are too few for a model of {inputs.shape[1]} numbers; give '
                'histories of more or longer searches.'
            )
        ridge = np.diag([0.0] * groups.shape[1] + [RIDGE * len(scores)] * features.shape[1])
        solver = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T)
        fitted = solver @ scores
        # What each residual would be if its own score had been left out of the fit.
        leverage = np.einsum('ij,ji->i', inputs, solver)
        alone = leverage > 1 - 1e-9  # the only score on its images: nothing else predicts it
        residuals = ((scores - inputs @ fitted)[~alone]) / (1 - leverage[~alone])
        within = scores - groups @ (groups.T @ scores / groups.sum(axis=0))
        self.weights = fitted[groups.shape[1] :]
        self.error = float(np.sqrt(np.mean(residuals**2)))
        self.explained = float(1 - np.sum(residuals**2) / np.sum(within**2))

    def __call__(self, candidate: Candidate) -> float:
        """The score without noise, up to a constant."""
        return float(self.of([candidate])[0])

    def of(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """The scores of several: ``(N,)``."""
        scores: np.ndarray = self._features(candidates) @ self.weights
        return scores

    @staticmethod
    def _features(candidates: Sequence[Candidate]) -> np.ndarray:
        genes = np.array([sum(candidate, ()) for candidate in candidates])  # (S, genes)
        pairs = combinations_with_replacement(range(genes.shape[1]), 2)
        return np.concatenate(
            [genes, np.stack([genes[:, i] * genes[:, j] for i, j in pairs], 1)], 1
        )


def replay(
    model: ScoreModel,
    space: RatioSpace,
    costs: CostModel,
    budget: Budget,
    settings: EvolutionSettings,
) -> float:
    """Searches once; gives the winner's score without noise."""

    def excess(candidate: Candidate) -> float:
        return budget.excess(costs.cost(candidate, budget.unit))

    noise = Random(f'{settings.seed} {settings.strategy} noise')
    search = Evolution(space, excess, settings)
    while candidates := search.ask():
        for candidate in candidates:
            search.tell(candidate, model(candidate) + noise.gauss(0, model.error))
    return model(search.best()[0])


def best_within(
    model: ScoreModel, space: RatioSpace, costs: CostModel, budget: Budget
) -> Candidate:
    """The best candidate of all by the model, among those that a budget allows.

    Raises:
        BadInputError: It allows none.
    """
    allowed = [own for own in space if budget.excess(costs.cost(own, budget.unit)) <= 0]
    if not allowed:
        raise BadInputError(f'No setting is within the budget of {budget} by both tables.')
    scores = np.concatenate([model.of(allowed[i : i + 4096]) for i in range(0, len(allowed), 4096)])
    return allowed[int(scores.argmax())]


def print_winners(
    model: ScoreModel,
    space: RatioSpace,
    costs: dict[str, CostModel],
    budgets: Sequence[Budget],
) -> None:
    """Prints what the best setting by each table is, and what it costs by both."""
    print()
    print_row(
        ['budget', 'searched with', 'ratios', 'score', *(f'latency, {name}' for name in costs)]
    )
    print_row(['---'] * (4 + len(costs)))
    dense = model(space.dense)
    for budget in budgets:
        for name, own in costs.items():
            best = best_within(model, space, own, budget)
            ratios = ', '.join(' '.join(map(str, stage)) for stage in best)
            latencies = [f'{other.cost(best, "latency"):.3f}' for other in costs.values()]
            print_row([str(budget), name, ratios, f'{model(best) - dense:+.4f}', *latencies])


def gain(values: Sequence[float], others: Sequence[float]) -> str:
    """Mean difference of paired replays and its standard error."""
    gains = [value - other for value, other in zip(values, others, strict=True)]
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
    return f'{mean(gains):+.4f} ± {error:.4f}'


def print_row(cells: Sequence[str]) -> None:
    """Prints one row of the table, at once."""
    print(f'| {" | ".join(cells)} |', flush=True)


def main() -> None:
    """Prints the model's quality and the table."""
    args = parse_args()
    if args.seeds < 1:
        raise BadInputError(f'--seeds must be at least 1, not {args.seeds}.')
    cfg = read_config(args.config)
    named = 'budget', 'latency_table', 'population', 'parents', 'mutation'
    settings = SearchSettings.from_config(cfg, {name: getattr(args, name) for name in named})
    lengths = [replace(settings.evolution, evaluations=number) for number in args.evaluations]
    backbone = find_backbone(build_backbone(cfg))
    image_size = settings.image_size or usual_image_size(cfg, 'val')
    table = LatencyTable.read(settings.latency_table) if settings.latency_table else None
    shape = backbone_shape(backbone, image_size, table.batch if table is not None else 1)
    space = RatioSpace.build(backbone.depths, settings.choices, settings.stage_limits)
    candidates, scores, sources = read_scores(args.histories, space)
    model = ScoreModel(candidates, scores, sources)
    print(
        f'{len(scores)} scores of {len(args.histories)} searches. Each predicted from the others: '
        f'{model.error:.4f} off, {model.explained:.0%} of the variance explained.'
    )
    costs = CostModel(shape, space, table)
    other = None
    if args.other_table:
        if table is None:
            raise BadInputError('--other-table is compared with --latency-table; give both.')
        other = CostModel(shape, space, LatencyTable.read(args.other_table))
    if val_images_have_size(cfg, image_size):
        space = space.distinct([stage.num_windows for stage in shape.stages])
    for budget in settings.budgets:
        if budget.unit in ('latency', 'ms') and table is None:
            raise BadInputError(f'The budget {budget} needs --latency-table.')
        costs.check_reachable(budget, space)
        if other is not None:
            other.check_reachable(budget, space)

    strategies = list(dict.fromkeys(args.strategies))
    first, others = strategies[0], strategies[1:]
    header = ['budget', 'evaluations', *strategies, *(f'{name} − {first}' for name in others)]
    print_row(header)
    print_row(['---'] * len(header))
    dense = model(space.dense)
    for budget in settings.budgets:
        for length in lengths:
            found: dict[str, list[float]] = {name: [] for name in strategies}
            label = f'{budget}, {length.evaluations} evaluations'
            for seed in tqdm(range(args.seeds), desc=label, leave=False):
                for strategy, values in found.items():
                    how = replace(length, strategy=strategy, seed=seed)
                    values.append(replay(model, space, costs, budget, how) - dense)
            means = [f'{mean(values):+.4f}' for values in found.values()]
            gains = [gain(found[name], found[first]) for name in others]
            print_row([str(budget), str(length.evaluations), *means, *gains])
    print(
        'Scores of the winners on the fit, without noise, less that of dense; a winner has the '
        'highest score, of the surrogate the highest prediction. ± is the standard '
        "error of the replays alone; the fit's own error comes on top."
    )
    if other is not None:
        named = {args.latency_table: costs, args.other_table: other}
        print_winners(model, space, named, settings.budgets)


if __name__ == '__main__':
    run(main)
