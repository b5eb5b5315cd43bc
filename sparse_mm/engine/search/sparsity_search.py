"""The search for ratios as a whole: costs, scores, evolution, files; on one process or several."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast, get_rank, get_world_size, is_main_process
from mmengine.runner import Runner

from sparse_mm.deploy import DeployedBackbone
from sparse_mm.engine.hosts import what_is_lost
from sparse_mm.engine.image_sizes import image_size_of_run, val_images_have_size
from sparse_mm.engine.inspection import backbone_shape, find_backbone
from sparse_mm.engine.search.records import Record, Records
from sparse_mm.engine.search.report import SearchReport
from sparse_mm.engine.search.scorer import CandidateScorer, Score
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.tables import digest_of_table, table_for
from sparse_mm.errors import BadInputError
from sparse_mm.progress import progress_bar
from sparse_mm.ranks import on_every_process, on_main_process
from sparse_mm.search.budget import Budget
from sparse_mm.search.cost import CostModel
from sparse_mm.search.evolution import Evolution
from sparse_mm.search.space import Candidate, RatioSpace
from sparse_mm.search.surrogate import rank_by_prediction
from sparse_mm.search.timing import measure_whole

FOLDER = 'sparsity_search'


class SparsitySearch:
    """Finds the best ratios of a model within each of several budgets.

    Every process holds the same evaluations and reaches the same decisions; candidates are divided
    among the processes, rank 0 writes.

    Args:
        runner: Its model is searched, with its validation set and metrics.
        settings: What to search for.
        folder: Where state and results go.
    """

    def __init__(self, runner: Runner, settings: SearchSettings, folder: Path) -> None:
        self.runner = runner
        self.settings = settings
        self.folder = folder
        self.backbone = find_backbone(runner.model)
        self.space = RatioSpace.build(self.backbone.depths, settings.choices, settings.stage_limits)
        image_size = settings.image_size or image_size_of_run(runner)
        self.shape = backbone_shape(self.backbone, image_size, settings.batch)
        if val_images_have_size(runner.cfg, image_size):
            # Equal numbers of windows give equal scores, at equal costs.
            self.space = self.space.distinct([stage.num_windows for stage in self.shape.stages])
        self.dense = self.space.dense
        self.feasible = 1.0  # share of the candidates drawn last that were within the budget
        self.bar = progress_bar('', quiet=True)

    def prepare(self) -> None:
        """Checks everything that can be checked, and measures latencies if needed.

        Raises:
            BadInputError: The budget cannot be met, the metric does not exist, the deployment's
                table belongs to something else.
        """
        settings = self.settings
        CostModel(self.shape, self.space)  # refuses before anything is measured
        self.scorer = CandidateScorer(
            self.runner, settings.metric, settings.rule, settings.evolution.seed
        )
        self.scorer.check(settings.num_images)
        for metric in self.scorer.evaluator.metrics:
            lost = what_is_lost(type(metric))
            if lost:
                self._say(lost)
        table = None
        if settings.asks_for_latency:
            path = self.folder / 'latency_table.json'
            table = table_for(path, self.backbone, self.shape, self.space, settings, self._say)
        self.costs = CostModel(self.shape, self.space, table)
        for budget in settings.budgets:
            self.costs.check_reachable(budget, self.space)
            # Draws the first generation: refuses ranges that no candidate falls into.
            self._evolution(budget).ask()

    def identify(self) -> Records:
        """The records of a search of the model as it is now: what their scores depend on.

        Raises:
            BadInputError: The processes have different validation images.
        """
        settings, scorer = self.settings, self.scorer
        # Training leaves each process statistics of its own images (batch normalisation); a score
        # must not depend on who computes it. Rank 0's are those that checkpoints have.
        for buffer in scorer.model.buffers():
            broadcast(buffer)
        numbers = [scorer.num_images(settings.num_images)]
        if settings.finalists:
            numbers.append(scorer.num_images(settings.final_images))
        own = dict(
            settings.identity(),
            image_size=self.shape.image_size,
            channels=[stage.channels for stage in self.shape.stages],
            depths=self.backbone.depths,
            latency_table=None if self.costs.table is None else digest_of_table(self.costs.table),
        )
        found = on_every_process(lambda: scorer.identity(self.runner.cfg, numbers))
        for rank, other in enumerate(found):
            if other['data'] != found[0]['data']:
                raise BadInputError(
                    f'Process {rank} has other validation images than process 0; copy the data set '
                    'to its machine again.'
                )
        return Records(self.folder / 'state.json', {**own, **found[0]}, self._say)

    def run(
        self, records: Records | None = None, begun: Callable[[], None] | None = None
    ) -> dict[int, Record]:
        """Searches, continuing from a saved state whose scores are still valid.

        Args:
            records: What :meth:`identify` gave; None identifies the model now.
            begun: Called when a new search begins, after its state is saved.

        Returns:
            The winner of each budget, by its place in the list. There is none for a further budget
            within which no setting has a score.

        Raises:
            BadInputError: No setting within the first budget has a score.
        """
        self.records = records or self.identify()
        self.records.load()
        self.report = SearchReport(self.folder, self.settings, self.costs, self.records)
        if not self.records.all:
            self.records.save()  # says from here on what the search began with
            if begun is not None:
                begun()
        try:
            return self._run()
        finally:
            self.scorer.close()

    def _run(self) -> dict[int, Record]:
        budgets = self.settings.budgets
        images = self.scorer.num_images(self.settings.num_images)
        total = len(budgets) * (self.settings.evolution.evaluations + 1) + 1
        with self._bar(total) as self.bar:
            self._score([self.dense], images, 'dense', -1)
            for index, budget in enumerate(budgets):
                self._score(self.uniform(budget), images, 'uniform', index)
                self._evolve(index, budget, images)
            # Predictions may differ in their last bit between machines; decisions must not.
            finalists = on_main_process(
                lambda: [self._finalists(budget, images) for budget in budgets]
            )
            more = self.scorer.num_images(self.settings.final_images)
            if self.settings.finalists and more > images:
                together = dict.fromkeys([self.dense, *(c for group in finalists for c in group)])
                self.bar.total = self.bar.n + len(together)
                self._score(list(together), more, 'final', -1)
                images = more
        self._measure([self.dense, *(c for group in finalists for c in group)])
        found = (self._best(group, images) for group in finalists)
        winners = {index: record for index, record in enumerate(found) if record is not None}
        if 0 not in winners:
            raise self._no_score(0)
        self._write(winners)
        return winners

    def _evolution(self, budget: Budget, known: dict[Candidate, float] | None = None) -> Evolution:
        return Evolution(self.space, self._excess(budget), self.settings.evolution, known)

    def _evolve(self, index: int, budget: Budget, images: int) -> None:
        # What was scored before this budget's own candidates: also where a search goes on later.
        known = {
            record.ratios: record.score
            for record in self.records.all
            if record.num_images == images
            and (record.budget < index or (record.budget, record.role) == (index, 'uniform'))
        }
        evolution = self._evolution(budget, known)

        def ask() -> tuple[list[Candidate], int]:
            candidates = evolution.ask()
            self.feasible = evolution.feasible_draws / evolution.draws
            return candidates, evolution.generation

        while (asked := on_main_process(ask))[0]:
            candidates, generation = asked
            scores = self._score(candidates, images, 'population', index, generation)
            for candidate, score in zip(candidates, scores, strict=True):
                evolution.tell(candidate, score)
            best = self._best(evolution.best(), images)
            if best is not None:
                self._write({index: best})
                continue
            told = len(evolution.scores) >= self.settings.evolution.population
            if told and not self._inside(self._scored(images), budget):
                # After a whole population: others would cost hours for nothing.
                if index == 0:
                    raise self._no_score(index)
                self._say(f'{self._no_score(index)} The search goes on without this budget.')
                return

    def uniform(self, budget: Budget) -> list[Candidate]:
        """The least pruned uniform setting within a budget."""
        excess = self._excess(budget)
        return [candidate for candidate in self.space.uniform() if not excess(candidate)][:1]

    def _excess(self, budget: Budget) -> Callable[[Candidate], float]:
        return lambda candidate: budget.excess(self.costs.cost(candidate, budget.unit))

    def _inside(self, records: Sequence[Record], budget: Budget) -> list[Record]:
        excess = self._excess(budget)
        return [record for record in records if not excess(record.ratios)]

    def _scored(self, images: int) -> list[Record]:
        found = (record for record in self.records.all if record.num_images == images)
        return [record for record in found if math.isfinite(record.score)]

    def beside(self, index: int, winner: Record) -> dict[str, Record]:
        """What a budget's winner is compared with: uniform and dense, on the same images."""
        named = {'uniform': self.uniform(self.settings.budgets[index]), 'dense': [self.dense]}
        found = {
            name: self.records.find(candidate, winner.num_images)
            for name, candidates in named.items()
            for candidate in candidates
        }
        return {
            name: record
            for name, record in found.items()
            if record is not None and math.isfinite(record.score)
        }

    def _finalists(self, budget: Budget, images: int) -> list[Candidate]:
        """The best of all within a budget that were scored, for whichever budget.

        The surrogate's are the best by its predictions from all scores.
        """
        scored = self._scored(images)
        inside = sorted(self._inside(scored, budget), key=lambda record: -record.score)
        ratios = [record.ratios for record in inside]
        if self.settings.evolution.strategy == 'surrogate':
            scores = {record.ratios: record.score for record in scored}
            ratios = rank_by_prediction(self.space, scores, ratios)
        finalists = ratios[: max(1, self.settings.finalists)]
        return list(dict.fromkeys(finalists + self.uniform(budget)))

    def _best(self, candidates: Sequence[Candidate], images: int) -> Record | None:
        found = [self.records.find(candidate, images) for candidate in candidates]
        scored = [r for r in found if r is not None and math.isfinite(r.score)]
        return max(scored, key=lambda record: record.score, default=None)

    def _no_score(self, index: int) -> BadInputError:
        budget = self.settings.budgets[index]
        failed = [record for record in self.records.all if not math.isfinite(record.score)]
        inside = self._inside(failed, budget)
        advice = (
            'check the losses of the training, and search from a checkpoint before they diverged'
        )
        if len(failed) < len(self.records.all):
            advice = 'others have one, so allow a higher budget, or adapt the model for longer'
        reasons = ', '.join(sorted({record.failure for record in inside})[:3])
        return BadInputError(
            f'There is no winner: none of the {len(inside)} settings that were scored has a finite '
            f'{self.settings.metric} ({reasons}; budget: {budget}); {advice}.'
        )

    def _score(
        self,
        candidates: Sequence[Candidate],
        images: int,
        role: str,
        budget: int,
        generation: int = 0,
    ) -> list[float]:
        """Scores candidates, each on one process; known scores are reused."""
        waiting = [c for c in candidates if self.records.find(c, images) is None]
        self.bar.update(len(candidates) - len(waiting))
        world = get_world_size()
        for start in range(0, len(waiting), world):
            together = waiting[start : start + world]
            own = together[get_rank()] if get_rank() < len(together) else None
            # A process that fails ends all of them, with its message.
            scores = on_every_process(lambda: self._score_one(own, images))  # noqa: B023, at once
            for candidate, score in zip(together, scores, strict=False):
                why = role, budget, generation
                self._keep(Record(candidate, images, score.value, *why, *score[1:]))
                if score.failure:
                    self._say(f'{list(candidate)} has no score: {score.failure}.')
            self.records.save()
        found = [self.records.find(candidate, images) for candidate in candidates]
        return [record.score for record in found if record is not None]

    def _score_one(self, candidate: Candidate | None, images: int) -> Score:
        return Score(0.0) if candidate is None else self.scorer.score(candidate, images)

    def _say(self, sentence: str) -> None:
        self.runner.logger.info(sentence)

    def _keep(self, record: Record) -> None:
        self.records.add(record)
        values = {'search/gmacs': self.costs.macs(record.ratios) / 1e9}
        if math.isfinite(record.score):
            values['search/score'] = record.score
        if self.costs.table is not None:
            values['search/latency'] = self.costs.cost(record.ratios, 'latency')
        if record.role == 'population':
            group = [r.score for r in self.records.all if r.budget == record.budget]
            if math.isfinite(max(group)):
                values['search/best'] = max(group)
            feasible = f'{self.feasible:.0%}'
            self.bar.set_postfix(best=f'{max(group):.4f}', feasible=feasible, refresh=False)
        if is_main_process():
            self.runner.visualizer.add_scalars(values, step=len(self.records.all))
        self.bar.update()

    def _write(self, winners: dict[int, Record]) -> None:
        on_main_process(
            lambda: self.report.write(
                winners, {index: self.beside(index, record) for index, record in winners.items()}
            )
        )

    def _bar(self, total: int) -> Any:
        return progress_bar('Searching ratios', total=total, quiet=not is_main_process())

    def _measure(self, candidates: Sequence[Candidate]) -> None:
        """Measures whole passes of finalists and dense, unless a table is given."""
        wanted = list(dict.fromkeys(candidates))
        if self.settings.latency_table is not None or set(wanted) <= set(self.records.measured_ms):
            return

        def measure() -> list[float]:
            settings = self.settings
            seconds = settings.latency_seconds / 2
            backbone: Any = self.backbone
            if settings.deployed:
                # One graph more than settings: in turns, none is ever made again.
                backbone = DeployedBackbone(
                    backbone, settings.engine, settings.precision, max_graphs=len(wanted) + 1
                )
            return measure_whole(backbone, self.shape, wanted, settings.dtype, seconds)

        times = on_main_process(measure)
        self.records.measured_ms = dict(zip(wanted, times, strict=True))
        self.records.save()
