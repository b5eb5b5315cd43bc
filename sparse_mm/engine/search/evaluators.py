"""The metrics that score candidates: those of the config's evaluator, over what was scored."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import Evaluator
from mmengine.evaluator.metric import _to_cpu
from mmengine.registry import METRICS

from sparse_mm.engine.hosts import (
    WRITERS,
    data_prefixes,
    is_kind,
    is_mean,
    is_quick,
    precise_metric,
)
from sparse_mm.engine.inspection import metric_configs
from sparse_mm.errors import BadInputError
from sparse_mm.search.score_errors import parts_of, pseudo_values


class ScoringEvaluator:
    """Computes what a config's evaluator gives, in one process and on a part of the samples.

    An evaluator for joined data sets (mmdet's ``MultiDatasetsEvaluator``) has a metric for each of
    them, whose values begin with the data set's prefix; here as there.

    Args:
        cfg: The ``val_evaluator`` of a config: a metric, a list of them, or a wrapper of a list.
        dataset: The validation set.
    """

    def __init__(self, cfg: Any, dataset: Any) -> None:
        configs, prefixes = metric_configs(cfg), data_prefixes(cfg)
        # Where each data set ends in the joined one; of a single one nothing need be cut.
        ends = list(getattr(dataset, 'cumulative_sizes', ())) if prefixes else []
        self.starts = [0, *ends[:-1]] if ends else []
        meta = getattr(dataset, 'metainfo', None)
        self.metrics: list[Any] = []
        self.prefixes: list[str] = []
        self.bounds: list[tuple[int, int]] = []
        for number, config in enumerate(configs[: len(ends) or None]):
            if is_kind(config['type'], *WRITERS):
                continue  # it would write the predictions of every candidate
            metric = METRICS.build(_full_precision(config))
            metric.dataset_meta = meta[number] if isinstance(meta, Sequence) and ends else meta
            self.metrics.append(metric)
            self.prefixes.append(prefixes[number] if ends else '')
            if ends:
                self.bounds.append((self.starts[number], ends[number]))
        self.evaluator = Evaluator(self.metrics)

    def name(self, number: int) -> str:
        """What the values of a metric begin with, by its number."""
        parts = self.prefixes[number], self.metrics[number].prefix
        return ''.join(f'{part}/' for part in parts if part)

    def clear(self) -> None:
        """Forgets what was processed."""
        for metric in self.metrics:
            metric.results.clear()

    def judge(self, model: Any, batch: Any) -> None:
        """Predicts a batch, and takes the predictions."""
        self.process(model.val_step(batch), batch)

    def process(self, data_samples: Any, data_batch: Any) -> None:
        """Takes the predictions for a batch."""
        self.evaluator.process(data_samples=data_samples, data_batch=data_batch)

    def compute(
        self, indices: Sequence[int], by_parts: str = ''
    ) -> tuple[dict[str, float], np.ndarray | None]:
        """The values of all metrics, by their names.

        ``BaseMetric.evaluate`` would gather the results of all processes.

        Args:
            indices: Of the samples that were processed, in their order.
            by_parts: The name of a value that is wanted for each part of the images, too.

        Returns:
            The values; and ``(parts,)`` that one by parts of the images, see
            :mod:`sparse_mm.search.score_errors`; None where the metric does not allow it.
        """
        found: dict[str, float] = {}
        values_by_parts = None
        for number, metric in enumerate(self.metrics):
            results = _to_cpu(metric.results)
            if self.bounds:
                start, end = (bisect_left(indices, bound) for bound in self.bounds[number])
                results = results[start:end]
            if self.bounds and not results:
                continue  # of that data set nothing was scored
            name = self.name(number)
            values = metric.compute_metrics(results)
            found.update({name + key: value for key, value in values.items()})
            key = by_parts.removeprefix(name)
            if by_parts.startswith(name) and key in values:
                values_by_parts = _by_parts(metric, key, float(values[key]), results)
        self.clear()
        return found, values_by_parts


def mean_by_parts(values: np.ndarray) -> np.ndarray:
    """The means of images' own values ``(images,)`` over each part of the images."""
    parts = parts_of(len(values))
    means: np.ndarray = np.bincount(parts, values) / np.bincount(parts)
    return means


def _by_parts(metric: Any, key: str, value: float, results: list) -> np.ndarray | None:
    """A metric's value for each part of the images."""
    parts = parts_of(len(results))
    numbers = range(int(parts.max(initial=-1)) + 1)
    if len(numbers) < 2:
        return None

    def value_of(chosen: np.ndarray) -> float:
        some = [result for result, own in zip(results, chosen, strict=True) if own]
        return float(metric.compute_metrics(some)[key])

    if is_mean(metric):
        try:
            return np.array([value_of(parts == number) for number in numbers])
        except BadInputError:  # a part whose videos are all broken
            return None
    if hasattr(metric, 'compute_without'):
        without = metric.compute_without(key, results, parts)
    elif is_quick(metric):
        with np.errstate(invalid='ignore'):
            without = np.array([value_of(parts != number) for number in numbers])
    else:
        return None
    return None if without is None else pseudo_values(value, without)


def _full_precision(cfg: dict) -> dict:
    """Exchanges a metric that rounds for ours, which does not."""
    cls = cfg['type']
    if isinstance(cls, str):
        with METRICS.switch_scope_and_registry(None) as registry:  # the config's default scope
            cls = registry.get(cls)
    precise = precise_metric(cls)
    return cfg if precise is None else {**cfg, 'type': precise}
