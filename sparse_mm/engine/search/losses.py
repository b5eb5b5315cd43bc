"""The loss on validation images as a score, without post-processing.

Each image is a batch of its own, in evaluation mode and without augmentation, with the same random
numbers for every candidate: detectors draw which boxes and points they take the loss of. So the
loss of an image depends neither on its neighbours nor on the process that computes it.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.runner.utils import set_random_seed

from sparse_mm.engine.hosts import loads_annotations, name_of
from sparse_mm.engine.search.evaluators import mean_by_parts
from sparse_mm.errors import BadInputError

LOSS = 'loss'


class LossEvaluator:
    """Takes the model's own loss of each image, the sum of all its parts.

    Args:
        dataset: The validation set.
        seed: Start of the random numbers.

    Attributes:
        dataset: The same images, whose annotations are loaded before anything moves pixels, so that
            they are moved, too: pipelines of tests leave them as the metrics want them.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = _annotated_first(dataset)
        self.seed = seed
        self.starts: list[int] = []  # of data sets that are judged alone; here all are one
        self.metrics = [self]  # what the scores depend on, beside the model
        self.losses: list[float] = []

    def clear(self) -> None:
        """Forgets what was processed."""
        self.losses.clear()

    def judge(self, model: Any, batch: Any) -> None:
        """Computes the loss of each image of a batch.

        Raises:
            BadInputError: It cannot be computed: most often there are no annotations.
        """
        for number in range(_length(batch)):
            set_random_seed(self.seed + len(self.losses))
            try:
                data = model.data_preprocessor(_sample(batch, number), False)
                given = dict(data) if isinstance(data, Mapping) else {}
                _soften(given.get('data_samples'))
                losses = model(*(() if given else data), **given, mode='loss')
                loss, _ = model.parse_losses(losses)
                if not isinstance(loss, torch.Tensor):
                    raise ValueError(f'{type(model).__name__} gives no loss')
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                reason = (str(error).strip().splitlines() or [''])[0]
                raise BadInputError(
                    "metric='loss' of the search needs annotations from the validation pipeline, "
                    'as the training has them (LoadAnnotations, and what packs them); the loss of '
                    f'an image cannot be computed ({type(error).__name__}: {reason}).'
                ) from error
            self.losses.append(float(loss))

    def compute(
        self, indices: Sequence[int], by_parts: str = ''
    ) -> tuple[dict[str, float], np.ndarray | None]:
        """The mean loss; and that of each part of the images, if it is asked for.

        Args:
            indices: Of the samples that were processed.
            by_parts: ``'loss'``, or empty.
        """
        losses = np.array(self.losses)
        self.clear()
        return {LOSS: float(losses.mean())}, mean_by_parts(losses) if by_parts else None


def _annotated_first(dataset: Any) -> Any:
    """A data set, or joined ones, whose pipelines load annotations right after the image."""
    found = copy.copy(dataset)
    if hasattr(found, 'datasets'):
        found.datasets = [_annotated_first(one) for one in found.datasets]
    elif hasattr(found, 'dataset') and not hasattr(found, 'pipeline'):
        found.dataset = _annotated_first(found.dataset)
    transforms = list(getattr(getattr(found, 'pipeline', None), 'transforms', ()))
    loads = [t for t in transforms if loads_annotations(type(t))]
    if loads:
        others = [t for t in transforms if t not in loads]
        first = next(
            (i for i, t in enumerate(others) if not name_of(type(t)).startswith('Load')),
            len(others),
        )
        found.pipeline = copy.copy(found.pipeline)
        found.pipeline.transforms = [*others[:first], *loads, *others[first:]]
    return found


def _soften(samples: Any) -> None:
    """Makes labels that mmpretrain wrote as 0 and 1 probabilities, as mixing does in training."""
    for sample in samples or ():
        if hasattr(sample, 'set_gt_score') and 'gt_score' in sample:
            sample.set_gt_score(sample.gt_score.float())


def _length(batch: Any) -> int:
    """How many samples a collated batch has."""
    if isinstance(batch, Mapping):
        return _length(next(iter(batch.values())))
    return len(batch)


def _sample(batch: Any, number: int) -> Any:
    """One sample of a collated batch, as a batch."""
    if isinstance(batch, Mapping):
        return {key: _sample(value, number) for key, value in batch.items()}
    return batch[number : number + 1]
