"""Scores ratio settings on validation images, without changing the run."""

import logging
import math
import random
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, autocast
from mmengine.runner.utils import set_random_seed
from torch import nn
from torch.utils.data import DataLoader

from sparse_mm.engine.hosts import may_give, names_given, needs_whole_set
from sparse_mm.engine.inspection import find_backbone
from sparse_mm.engine.out_of_memory import is_out_of_memory
from sparse_mm.engine.search.evaluators import ScoringEvaluator
from sparse_mm.engine.search.identity import identity_of
from sparse_mm.engine.search.losses import LOSS, LossEvaluator
from sparse_mm.engine.signals import is_stopped_loader
from sparse_mm.errors import BadInputError, nearest
from sparse_mm.search.score_errors import pack
from sparse_mm.search.space import Candidate

# COCOeval's averages are -1 where no image has such an object: a finite number, but no score.
COCO_AVERAGE = re.compile(r'(?:^|[/_])(?:m?AP|AR)(?:$|[_@])')


class Score(NamedTuple):
    """The result of scoring a candidate.

    Attributes:
        value: Higher is better; minus infinity where there is none.
        failure: Why there is none.
        by_images: The score for each image or part of the images, see
            :mod:`sparse_mm.search.score_errors`, as text; empty where the metric has none.
    """

    value: float
    failure: str = ''
    by_images: str = ''


class CandidateScorer:
    """Validates a model with other pruning ratios, by a loop of its own.

    No hook of the runner is called; training modes, normalisation statistics, ratios and all random
    states are restored afterwards. Each process scores alone, so different processes may score
    different candidates at the same time.

    Args:
        runner: Gives model, validation set and metrics.
        metric: Which of the evaluator's metrics is the score, ``'coco/bbox_mAP'``; or ``'loss'``,
            the model's own on the validation images.
        rule: ``'greater'`` if more of it is better, ``'less'`` otherwise; then the score is its
            negative.
        seed: Which images a subset has, and what a model with random inference draws.
    """

    def __init__(self, runner: Runner, metric: str, rule: str, seed: int) -> None:
        cfg = runner.cfg
        if runner.val_loop is None or cfg.get('val_evaluator') is None:
            raise BadInputError(
                'The search scores settings on validation images, and the config has no '
                'val_dataloader with val_evaluator.'
            )
        self.cfg = cfg
        self.metric = metric
        self.sign = {'greater': 1.0, 'less': -1.0}[rule]
        self.seed = seed
        self.val_cfg = cfg.get('val_cfg') or {}
        model: Any = runner.model
        self.model: Any = model.module if is_model_wrapper(model) else model
        self.backbone = find_backbone(self.model)
        self.loader: DataLoader = runner.val_loop.dataloader
        self.dataset: Any = self.loader.dataset
        self.loaders: dict[int, DataLoader] = {}
        self.evaluator: ScoringEvaluator | LossEvaluator
        if metric == LOSS:
            self.evaluator = LossEvaluator(self.dataset, seed)
            self.dataset = self.evaluator.dataset
        else:
            self.evaluator = ScoringEvaluator(cfg.val_evaluator, self.dataset)

    def check(self, num_images: int | None) -> None:
        """Scores two images, to find mistakes in the settings before any long work.

        Raises:
            BadInputError: The metric is not among the evaluator's, or cannot be computed on a part
                of the validation set.
        """
        if isinstance(self.evaluator, LossEvaluator):
            self._metrics(None, self._new_loader(self.num_images(2), num_workers=0))
            return
        for number, metric in enumerate(self.evaluator.metrics):
            whole = needs_whole_set(type(metric))
            if whole and num_images is not None and num_images < self.num_images(None):
                raise BadInputError(
                    f'{type(metric).__name__} needs the whole validation set: set num_images and '
                    'final_images of the search to None.'
                )
            meta = metric.dataset_meta or {}
            if whole and not may_give(metric, self.metric, meta):
                known = names_given(metric, meta)
                example = f', such as {known[0]!r}' if known else ''
                raise BadInputError(
                    f'The search needs the metric {self.metric!r}; {type(metric).__name__} '
                    f'gives others, which begin with {self.evaluator.name(number)!r}{example}'
                    f'{nearest(self.metric, known) or "."}'
                )
            if whole:
                return
        found, _ = self._metrics(None, self._new_loader(self.num_images(2), num_workers=0))
        if self.metric not in found:
            raise BadInputError(
                f'The search needs the metric {self.metric!r}; the evaluator gives '
                f'{", ".join(sorted(found))}.'
            )

    def num_images(self, wanted: int | None) -> int:
        """How many images a subset of this size has; None is all."""
        total = len(self.dataset)
        return total if wanted is None else min(wanted, total)

    def score(self, candidate: Candidate, num_images: int) -> Score:
        """Scores one candidate.

        Args:
            candidate: The ratios.
            num_images: On how many images, always the same ones for a number.

        Returns:
            The metric as the evaluator computes it, not rounded, its negative if less is better.
            Where there is none, minus infinity and why: a class without any pixel or box in the
            subset can make a mean undefined, memory can run out.

        Raises:
            BadInputError: A validation image cannot be read.
        """
        try:
            found, by_parts = self._metrics(candidate, self._loader(num_images), self.metric)
        except Exception as error:
            self.close()  # a loader that was left in the middle has the rest still waiting
            if not is_out_of_memory(error):
                raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return Score(-math.inf, 'out of memory')
        if self.metric not in found:
            return Score(-math.inf, f'the evaluator gave no {self.metric}')
        value = float(found[self.metric])
        if not math.isfinite(value):
            return Score(-math.inf, f'{self.metric} is {value}')
        if value == -1 and COCO_AVERAGE.search(self.metric):
            return Score(-math.inf, f'the images have no objects for {self.metric}')
        by_images = '' if by_parts is None else pack(self.sign * by_parts)
        return Score(self.sign * value, by_images=by_images)

    def identity(self, cfg: Config, numbers: Iterable[int]) -> dict[str, Any]:
        """What the scores on so many images depend on, see :mod:`.identity`."""
        indices = {index for number in numbers for index in self._indices(number)}
        dataset = self.dataset
        with undisturbed(self.model):
            set_random_seed(self.seed)
            return identity_of(self.model, cfg, dataset, indices, self.evaluator.metrics)

    def close(self) -> None:
        """Ends the loaders' processes."""
        self.loaders.clear()

    def _metrics(
        self, candidate: Candidate | None, loader: DataLoader, by_parts: str = ''
    ) -> tuple[dict[str, float], np.ndarray | None]:
        self.evaluator.clear()  # of a candidate that failed
        with undisturbed(self.model), torch.no_grad(), _quiet():
            set_random_seed(self.seed)
            if candidate is not None:
                self.backbone.override_ratios(candidate)
            self.model.eval()
            for batch in self._batches(loader):
                with autocast(enabled=bool(self.val_cfg.get('fp16', False))):
                    self.evaluator.judge(self.model, batch)
            found = self.evaluator.compute(list(loader.sampler), by_parts)
        return found

    def _batches(self, loader: DataLoader) -> Iterator[Any]:
        batches = iter(loader)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except Exception as error:
                if is_out_of_memory(error) or is_stopped_loader(error):
                    raise
                raise self._unreadable(loader, error) from error
            yield batch

    def _unreadable(self, loader: DataLoader, error: Exception) -> BadInputError:
        """Finds the image that a loader failed at, and says so."""
        dataset: Any = loader.dataset
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        for index in loader.sampler:
            try:
                dataset[index]
            except Exception as own:
                reason = (str(own).strip().splitlines() or [type(own).__name__])[0]
                info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
                named = info.get('img_path') or f'number {index}'
                return BadInputError(
                    f'The validation image {named!r} cannot be read ({reason}); mend or replace '
                    'it, then go on: the scores so far are kept.'
                )
        return BadInputError(
            f'The validation images cannot be read ({reason}); the scores so far are kept.'
        )

    def _loader(self, num_images: int) -> DataLoader:
        if num_images not in self.loaders:
            self.loaders[num_images] = self._new_loader(num_images, self.loader.num_workers)
        return self.loaders[num_images]

    def _new_loader(self, num_images: int, num_workers: int) -> DataLoader:
        loader = self.loader
        return DataLoader(
            self.dataset,
            batch_size=loader.batch_size or 1,
            sampler=self._indices(num_images),
            num_workers=num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            persistent_workers=num_workers > 0,  # between candidates; close() ends them
            worker_init_fn=loader.worker_init_fn,
        )

    def _indices(self, num_images: int) -> list[int]:
        """Which images a subset of this size has; some of each data set that is judged alone."""
        total = self.num_images(None)
        starts = self.evaluator.starts or [0]
        chosen: list[int] = []
        for start, end in pairwise([*starts, total]):
            indices = list(range(start, end))
            random.Random(f'images {self.seed}').shuffle(indices)
            share = num_images if len(starts) == 1 else -(-num_images * (end - start) // total)
            chosen += indices[:share]
        return sorted(chosen)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Restores what scoring changes: training modes, ratios, and every random state."""
    modes = {module: module.training for module in model.modules()}
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        find_backbone(model).override_ratios(None)
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the metrics' tables, one for each candidate, out of the log."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.setLevel(level)
