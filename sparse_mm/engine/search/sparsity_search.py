"""The search for ratios as a whole: costs, scores, evolution, files; on one process or several."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.runner import Runner

from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.inspection import (
    backbone_shape,
    device_of,
    find_backbone,
    usual_image_size,
    val_images_have_size,
)
from sparse_mm.engine.ranks import on_main_process
from sparse_mm.engine.search.records import Record, Records
from sparse_mm.engine.search.report import SearchReport
from sparse_mm.engine.search.scorer import CandidateScorer
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.errors import BadInputError
from sparse_mm.models.executors import marked_pass
from sparse_mm.progress import progress_bar
from sparse_mm.search.budget import Budget
from sparse_mm.search.cost import CostModel, LatencyTable
from sparse_mm.search.estimate import NOISY
from sparse_mm.search.evolution import Evolution
from sparse_mm.search.space import Candidate, RatioSpace
from sparse_mm.search.timing import measure_table, measure_whole

FOLDER = 'sparsity_search'


class SparsitySearch:
    """Finds the best ratios of a model within each of several budgets.

    Every process holds the same evaluations and reaches the same decisions; candidates are shared
    out over the processes, rank 0 writes.

    Args:
        runner: Its model is searched, with its validation set and metrics.
        settings: What to search for.
        folder: Where state and results go.
        identity: What else a saved state must agree in, to be gone on with.
    """

    def __init__(
        self,
        runner: Runner,
        settings: SearchSettings,
        folder: Path,
        identity: dict[str, Any] | None = None,
    ) -> None:
        self.runner = runner
        self.settings = settings
        self.folder = folder
        self.backbone = find_backbone(runner.model)
        self.space = RatioSpace.build(self.backbone.depths, settings.choices, settings.stage_limits)
        image_size = settings.image_size or self._usual_image_size()
        self.shape = backbone_shape(self.backbone, image_size, settings.batch)
        if val_images_have_size(runner.cfg, image_size):
            # Equal numbers of windows give equal scores, at equal costs.
            self.space = self.space.distinct([stage.num_windows for stage in self.shape.stages])
        self.dense = self.space.dense
        fingerprint = dict(
            settings.fingerprint(),
            image_size=image_size,
            channels=[stage.channels for stage in self.shape.stages],
            depths=self.backbone.depths,
            **(identity or {}),
        )
        self.records = Records(folder / 'state.json', fingerprint)
        self.feasible = 1.0  # share of the candidates drawn last that were within the budget
        self.bar = progress_bar('', quiet=True)

    def prepare(self) -> None:
        """Checks everything that can be checked, and measures latencies if they are asked for.

        Raises:
            BadInputError: The budget cannot be met, the metric does not exist, a table or a saved
                state belongs to something else.
        """
        settings = self.settings
        CostModel(self.shape, self.space)  # refuses before anything is measured
        self.scorer = CandidateScorer(
            self.runner, settings.metric, settings.rule, settings.evolution.seed
        )
        self.scorer.check(settings.num_images)
        table = self._table() if settings.asks_for_latency else None
        self.costs = CostModel(self.shape, self.space, table)
        if table is not None:
            digest = sha256(table.to_json().encode()).hexdigest()
            self.records.fingerprint['latency_table'] = digest
        for budget in settings.budgets:
            self.costs.check_reachable(budget, self.space)
            # Draws the first generation: refuses ranges that no candidate falls into.
            self._evolution(budget).ask()
        self.records.load()
        self.report = SearchReport(self.folder, settings, self.costs, self.records)

    def run(self) -> list[Record]:
        """Searches, going on from a saved state.

        Returns:
            The winner of each budget.
        """
        budgets = self.settings.budgets
        images = self.scorer.num_images(self.settings.num_images)
        total = len(budgets) * (self.settings.evolution.evaluations + 1) + 1
        with self._bar(total) as self.bar:
            self._score([self.dense], images, 'dense', -1)
            for index, budget in enumerate(budgets):
                self._score(self._uniform(budget), images, 'uniform', index)
                self._evolve(index, budget, images)
            finalists = [self._finalists(budget, images) for budget in budgets]
            more = self.scorer.num_images(self.settings.final_images)
            if self.settings.finalists and more > images:
                together = dict.fromkeys([self.dense, *(c for group in finalists for c in group)])
                self.bar.total = self.bar.n + len(together)
                self._score(list(together), more, 'final', -1)
                images = more
        self._measure([self.dense, *(c for group in finalists for c in group)])
        winners = [self._best(group, images) for group in finalists]
        self._write(dict(enumerate(winners)))
        return winners

    def _usual_image_size(self) -> tuple[int, int]:
        cfg = self.runner.cfg
        dataset = None if cfg.get('val_dataloader') is None else self.runner.val_loop
        dataset = None if dataset is None else dataset.dataloader.dataset
        size = usual_image_size(cfg, 'val', dataset)
        if not val_images_have_size(cfg, size):
            self.runner.logger.info(
                f'Costs are those of images of {size[0]}x{size[1]}, which most validation images '
                'become; image_size=(H, W) of the search sets another size.'
            )
        return size

    def _evolution(self, budget: Budget) -> Evolution:
        def excess(candidate: Candidate) -> float:
            return budget.excess(self.costs.cost(candidate, budget.unit))

        return Evolution(self.space, excess, self.settings.evolution)

    def _evolve(self, index: int, budget: Budget, images: int) -> None:
        evolution = self._evolution(budget)
        while candidates := evolution.ask():
            self.feasible = evolution.feasible_draws / evolution.draws
            scores = self._score(candidates, images, 'population', index, evolution.generation)
            for candidate, score in zip(candidates, scores, strict=True):
                evolution.tell(candidate, score)
            best = evolution.best()[0]
            self._write({index: self._best([best], images)})

    def _uniform(self, budget: Budget) -> list[Candidate]:
        """The least pruned uniform setting within a budget."""
        inside = [
            candidate
            for candidate in self.space.uniform()
            if not budget.excess(self.costs.cost(candidate, budget.unit))
        ]
        return inside[:1]

    def _finalists(self, budget: Budget, images: int) -> list[Candidate]:
        """The best of all within a budget that were scored, for whichever budget."""
        scored = [record for record in self.records.all if record.num_images == images]
        inside = [
            record
            for record in scored
            if not budget.excess(self.costs.cost(record.ratios, budget.unit))
        ]
        inside.sort(key=lambda record: -record.score)
        finalists = [record.ratios for record in inside[: max(1, self.settings.finalists)]]
        return list(dict.fromkeys(finalists + self._uniform(budget)))

    def _best(self, candidates: Sequence[Candidate], images: int) -> Record:
        found = [self.records.find(candidate, images) for candidate in candidates]
        return max((r for r in found if r is not None), key=lambda record: record.score)

    def _score(
        self,
        candidates: Sequence[Candidate],
        images: int,
        role: str,
        budget: int,
        generation: int = 0,
    ) -> list[float]:
        """Scores candidates, each on one process; what is known is not scored again."""
        waiting = [c for c in candidates if self.records.find(c, images) is None]
        self.bar.update(len(candidates) - len(waiting))
        world = get_world_size()
        for start in range(0, len(waiting), world):
            together = waiting[start : start + world]
            own = together[get_rank()] if get_rank() < len(together) else None
            score = self.scorer.score(own, images) if own is not None else None
            for candidate, value in zip(together, all_gather_object(score), strict=False):
                self._keep(Record(candidate, images, value, role, budget, generation))
            self.records.save()
        found = [self.records.find(candidate, images) for candidate in candidates]
        return [record.score for record in found if record is not None]

    def _keep(self, record: Record) -> None:
        self.records.add(record)
        values = {
            'search/score': record.score,
            'search/gmacs': self.costs.macs(record.ratios) / 1e9,
        }
        if self.costs.table is not None:
            values['search/latency'] = self.costs.cost(record.ratios, 'latency')
        if record.role == 'population':
            group = [r.score for r in self.records.all if r.budget == record.budget]
            values['search/best'] = max(group)
            feasible = f'{self.feasible:.0%}'
            self.bar.set_postfix(best=f'{max(group):.4f}', feasible=feasible, refresh=False)
        if is_main_process():
            self.runner.visualizer.add_scalars(values, step=len(self.records.all))
        self.bar.update()

    def _write(self, winners: dict[int, Record]) -> None:
        on_main_process(lambda: self.report.write(winners))

    def _bar(self, total: int) -> Any:
        return progress_bar('Searching ratios', total=total, quiet=not is_main_process())

    def _table(self) -> LatencyTable:
        """Reads the deployment's table, or this run's own, which is measured once."""
        if self.settings.latency_table is not None:
            return LatencyTable.read(self.settings.latency_table)
        path = self.folder / 'latency_table.json'
        on_main_process(lambda: None if path.is_file() else self._measure_table(path))
        table = LatencyTable.read(path)
        if table.conditions['dtype'] != self.settings.dtype:
            raise BadInputError(
                f'{str(path)!r} was measured in {table.conditions["dtype"]}, the search asks for '
                f'{self.settings.dtype}; choose another work directory, or delete the file.'
            )
        return table

    def _measure_table(self, path: Path) -> None:
        settings = self.settings
        with progress_bar('Measuring latencies') as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            for _ in range(2):
                table = measure_table(
                    self.backbone,
                    self.shape,
                    self.space,
                    marked_pass,
                    settings.dtype,
                    settings.latency_seconds,
                    progress=progress,
                )
                spread = table.conditions['spread']
                if spread is not None and spread <= NOISY:
                    break
            else:
                raise BadInputError(
                    'The latencies cannot be measured while this machine does so much else: '
                    f'repeated, they differ by {spread:.0%}; stop other programs, measure longer '
                    '(latency_seconds), give a latency_table, or set a budget in macs.'
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, table.to_json())

    def _measure(self, candidates: Sequence[Candidate]) -> None:
        """Measures finalists whole, beside dense; not where another machine's table decides."""
        wanted = list(dict.fromkeys(candidates))
        if self.settings.latency_table is not None or set(wanted) <= set(self.records.measured_ms):
            return

        def measure() -> list[float]:
            seconds = self.settings.latency_seconds / 2
            return measure_whole(self.backbone, self.shape, wanted, self.settings.dtype, seconds)

        times = on_main_process(measure)
        self.records.measured_ms = dict(zip(wanted, times, strict=True))
        self.records.save()


def summarise(search: SparsitySearch, winners: list[Record]) -> list[str]:
    """What was found, in a few lines."""
    dense = search.records.find(search.dense, winners[0].num_images)
    lines = []
    if dense is not None:
        lines.append(f'dense: {search.settings.metric} {dense.score:.4f}')
    for budget, record in zip(search.settings.budgets, winners, strict=True):
        described = search.report.describe(record)
        costs = f'{described["macs"]:.3f} of the MACs'
        if 'latency' in described:
            costs += f', {described["latency"]:.3f} of the latency'
        if 'measured_latency' in described:
            costs += f' (measured whole: {described["measured_latency"]:.3f})'
        ratios = [list(stage) for stage in record.ratios]
        lines.append(f'{budget}: {search.settings.metric} {record.score:.4f}, {costs}, {ratios}')
        if described.get('measured_latency', 0) > 1.1 * described.get('latency', float('inf')):
            lines.append(
                'measured whole, this winner is more than 10 % slower than the sum of its parts: '
                'measure longer (latency_seconds), on a quieter machine'
            )
    device = device_of(search.backbone)
    lines.append(f'costs of {search.report.describe(winners[0])["costs_of"]} on {device}')
    lines.append(f'results: {search.folder}/best.json, history.csv, pareto.png')
    return lines
