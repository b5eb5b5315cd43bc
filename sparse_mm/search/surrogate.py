"""A Gaussian process over the ratios, which predicts the score of every candidate.

A score on few images is noisy, so the best of many scores is often only the luckiest. The process
(Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006, algorithm 2.1)
takes scores as a smooth function of the ratios plus noise. It predicts that function with an error
of its own, for scored candidates and others alike.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sparse_mm.search.space import Candidate, RatioSpace

# Number of standard errors in the upper confidence bound.
OPTIMISM = 1.0
# Variance of a score's noise, as a share of that of the function. The lower bound keeps the
# matrices well-conditioned for similar candidates.
NOISES = np.array([0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
# Ratios' distances over which the function changes, where a stage's choices span 1.
LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
# Scores that the lengths are fitted to; a fit's time grows with the cube of their number.
MAX_FITTED = 400


class GaussianProcess:
    """A squared exponential kernel with one length per stage, fitted to scores with noise.

    Lengths and noise are those of the highest marginal likelihood (section 5.4.1 of the book),
    searched on a grid, stage by stage. Everything follows from the scores and their order.

    Args:
        space: The candidates.
        scores: All on the same images, at least one of them finite. Minus infinity, where there is
            no score, counts as the worst one, so the search avoids that region.

    Attributes:
        noise: Standard deviation of a score's noise, as fitted.
    """

    def __init__(self, space: RatioSpace, scores: Mapping[Candidate, float]) -> None:
        self._low = np.concatenate(
            [[c[0]] * n for n, c in zip(space.num_pairs, space.choices, strict=True)]
        )
        self._span = np.concatenate(
            [[c[-1] - c[0] or 1.0] * n for n, c in zip(space.num_pairs, space.choices, strict=True)]
        )
        self._stage = np.repeat(np.arange(len(space.num_pairs)), space.num_pairs)  # (G,)
        self._points = self._features(list(scores))  # (S, G)
        values = np.array(list(scores.values()), dtype=float)
        values = np.where(np.isfinite(values), values, values[np.isfinite(values)].min())
        self._center = values.mean()
        values = values - self._center
        self._lengths, ratio, scale = self._fit(values)
        kernel = self._kernel(self._points, self._points)
        factor = np.linalg.cholesky(kernel + ratio * np.eye(len(values)))
        # Used as a whole many times; numpy alone has no triangular solve.
        self._whiten = np.linalg.inv(factor)  # (S, S)
        self._weights = self._whiten.T @ (self._whiten @ values)
        self._ratio, self._scale = ratio, scale
        self.noise = float(np.sqrt(ratio * scale))

    def predict(self, candidates: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
        """Predicts scores without noise.

        Args:
            candidates: Of the space.

        Returns:
            Means ``(C,)`` and standard errors ``(C,)``, float64.
        """
        cross = self._kernel(self._points, self._features(candidates))  # (S, C)
        variance = 1 - np.sum((self._whiten @ cross) ** 2, axis=0)
        return self._center + self._weights @ cross, self._error(variance)

    def choose(self, candidates: Sequence[Candidate], count: int) -> list[Candidate]:
        """Chooses by upper confidence bound: mean plus :data:`OPTIMISM` standard errors.

        Each choice reduces the standard error of similar candidates, as its score will, so the
        choices of a batch are diverse (GP-BUCB, Desautels et al., JMLR 2014).

        Args:
            candidates: To choose from; all different.
            count: How many at most.

        Returns:
            The most promising first.
        """
        points = self._features(candidates)  # (C, G)
        cross = self._kernel(self._points, points)  # (S, C)
        mean = self._weights @ cross
        known = self._whiten @ cross
        variance = 1 - np.sum(known**2, axis=0)
        count = min(count, len(candidates))
        rows = np.concatenate([known, np.zeros((count, len(candidates)))])  # (S + count, C)
        waiting = np.ones(len(candidates), dtype=bool)
        chosen = []
        for row in range(len(known), len(known) + count):
            bounds = np.where(waiting, mean + OPTIMISM * self._error(variance), -np.inf)
            index = int(np.argmax(bounds))
            waiting[index] = False
            chosen.append(candidates[index])
            left = self._kernel(points[index : index + 1], points)[0]
            left = left - rows[:row, index] @ rows[:row]
            rows[row] = left / np.sqrt(max(variance[index], 0.0) + self._ratio)
            variance = variance - rows[row] ** 2
        return chosen

    def _error(self, variance: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(variance, 0.0) * self._scale)  # below 0 only by rounding

    def _features(self, candidates: Sequence[Candidate]) -> np.ndarray:
        genes = np.array([sum(candidate, ()) for candidate in candidates])  # (C, G)
        return (genes - self._low) / self._span

    def _kernel(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        scales = self._lengths[self._stage]
        first, second = first / scales, second / scales
        squares = np.sum(first**2, axis=1)[:, None] + np.sum(second**2, axis=1)
        return np.exp(-0.5 * np.maximum(squares - 2 * first @ second.T, 0.0))

    def _fit(self, values: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Finds lengths by stage, noise as a share of the function's variance, and that variance.

        Args:
            values: ``(S,)`` scores less their mean.
        """
        some = _evenly(len(values))
        points, values = self._points[some], values[some]
        stages = int(self._stage.max()) + 1

        def evidence(lengths: tuple[float, ...]) -> tuple[float, float, float]:
            self._lengths = np.array(lengths)
            # One decomposition serves every noise.
            roots, vectors = np.linalg.eigh(self._kernel(points, points))
            total = np.maximum(roots, 0.0)[:, None] + NOISES  # (S, noises)
            scales = np.mean((vectors.T @ values)[:, None] ** 2 / total, axis=0)
            scales = np.maximum(scales, 1e-18)  # where all scores are the same
            likelihood = -0.5 * (len(values) * np.log(scales) + np.log(total).sum(axis=0))
            best = int(np.argmax(likelihood))
            return float(likelihood[best]), float(NOISES[best]), float(scales[best])

        tried = {(length,) * stages: evidence((length,) * stages) for length in LENGTHS}
        best = max(tried, key=lambda lengths: tried[lengths][0])
        for stage in [*range(stages)] * 2:
            for length in LENGTHS:
                lengths = (*best[:stage], length, *best[stage + 1 :])
                if lengths not in tried:
                    tried[lengths] = evidence(lengths)
            best = max(tried, key=lambda lengths: tried[lengths][0])
        return np.array(best), *tried[best][1:]


def _evenly(number: int) -> np.ndarray:
    """Indices of at most :data:`MAX_FITTED` scores, so that early and late ones both count."""
    return np.unique(np.linspace(0, number - 1, min(number, MAX_FITTED)).astype(int))


def fitted_noise(space: RatioSpace, scores: Mapping[Candidate, float]) -> float:
    """The standard deviation of a score's noise, from at most :data:`MAX_FITTED` scores.

    Args:
        space: The candidates.
        scores: As for :class:`GaussianProcess`.
    """
    items = list(scores.items())
    return GaussianProcess(space, dict(items[index] for index in _evenly(len(items)))).noise


def rank_by_prediction(
    space: RatioSpace, scores: Mapping[Candidate, float], candidates: Sequence[Candidate]
) -> list[Candidate]:
    """Sorts scored candidates by what a Gaussian process over all scores predicts.

    Args:
        space: The candidates.
        scores: All scores on the same images; minus infinity where there is none.
        candidates: Those to sort, all scored.

    Returns:
        The highest prediction first; last those without a score.
    """
    finite = [candidate for candidate in candidates if math.isfinite(scores[candidate])]
    failed = [candidate for candidate in candidates if not math.isfinite(scores[candidate])]
    if not finite:
        return failed
    means, _ = GaussianProcess(space, scores).predict(finite)
    order = sorted(range(len(finite)), key=lambda index: -means[index])
    return [finite[index] for index in order] + failed
