"""The output files of a search: a table, the winners, and the plot of the front."""

import csv
import gc
import json
import math
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.search.records import Record, Records
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.search.budget import UNITS
from sparse_mm.search.cost import CostModel
from sparse_mm.search.space import Candidate


def pareto_front(points: list[tuple[float, float]]) -> list[int]:
    """Indices of the points, (cost, score), that no other point beats; by rising cost."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


class SearchReport:
    """Writes ``history.csv``, ``best*.json`` and ``pareto.png``, each in one step.

    Args:
        folder: Where to.
        settings: Of the search.
        costs: Of its candidates.
        records: Its evaluations.
    """

    def __init__(
        self, folder: Path, settings: SearchSettings, costs: CostModel, records: Records
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.costs = costs
        self.records = records

    def describe(self, record: Record) -> dict[str, Any]:
        """One evaluation with its costs, as plain values."""
        dense: Candidate = tuple((0.0,) * len(stage) for stage in record.ratios)
        costs = self.costs
        described: dict[str, Any] = dict(
            pruning_ratios=record.ratios,
            metric=self.settings.metric,
            score=record.score if math.isfinite(record.score) else None,
            standard_error=_number(record.error),
            num_images=record.num_images,
            gmacs=costs.cost(record.ratios, 'gmacs'),
            macs=costs.cost(record.ratios, 'macs'),
        )
        if costs.table is not None:
            described['ms'] = costs.cost(record.ratios, 'ms')
            described['latency'] = costs.cost(record.ratios, 'latency')
        measured = self.records.measured_ms
        if record.ratios in measured and dense in measured:
            described['measured_latency'] = measured[record.ratios] / measured[dense]
        shape = costs.shape
        size = ' x '.join(map(str, (shape.batch, shape.in_channels, *shape.image_size)))
        described['costs_of'] = f'backbone, {size}'
        return described

    def write(
        self, winners: dict[int, Record], beside: dict[int, dict[str, Record]] | None = None
    ) -> None:
        """Writes all files.

        Args:
            winners: For each budget, by its place in the list, the best so far.
            beside: For each, what it is compared with, by its name: scores on the same images.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / 'history.csv', self._history())
        for index, record in winners.items():
            budget = self.settings.budgets[index]
            described = {**self.describe(record), 'budget': str(budget)}
            for name, other in ((beside or {}).get(index) or {}).items():
                described[name] = dict(
                    score=other.score,
                    standard_error=_number(other.error),
                    difference=record.score - other.score,
                    error_of_difference=_number(record.error_beside(other)),
                )
            content = json.dumps(described, indent=1, allow_nan=False)
            if len(self.settings.budgets) > 1:
                write_atomically(self.folder / f'best_{budget.slug}.json', content)
            if index == 0:
                write_atomically(self.folder / 'best.json', content)
        picture = self._picture(winners)
        # Figures are in reference cycles and are freed only when Python collects them, possibly
        # many plots later; their memory is then too fragmented for the system to get it back.
        gc.collect()
        write_atomically(self.folder / 'pareto.png', picture)

    def front(self) -> list[Record]:
        """The evaluations of the search, on its images, that no other beats."""
        searched = self._searched()
        return [searched[i] for i in pareto_front(self._points(searched))]

    def _searched(self) -> list[Record]:
        scored = [record for record in self.records.all if math.isfinite(record.score)]
        return [record for record in scored if record.role != 'final']

    def _points(self, records: list[Record]) -> list[tuple[float, float]]:
        unit = self.settings.budgets[0].unit
        return [(self.costs.cost(record.ratios, unit), record.score) for record in records]

    def _history(self) -> str:
        front = {id(record) for record in self.front()}
        text = StringIO()
        writer: Any = None
        for number, record in enumerate(self.records.all, 1):
            row = dict(
                number=number,
                role=record.role,
                budget=str(self.settings.budgets[record.budget]) if record.budget >= 0 else 'all',
                generation=record.generation,
                on_front=id(record) in front,
                **self.describe(record),
            )
            row['pruning_ratios'] = json.dumps(record.ratios)
            row.setdefault('measured_latency', '')
            row['failure'] = record.failure
            if writer is None:
                writer = csv.DictWriter(text, list(row))
                writer.writeheader()
            writer.writerow(row)
        return text.getvalue()

    def _picture(self, winners: dict[int, Record]) -> bytes:
        # Imported on use: `import sparse_mm` shall be quick.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4.5), dpi=120, layout='constrained')
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        searched = self._searched()
        groups = dict(population='candidates', uniform='uniform ratio', dense='dense')
        styles: dict[str, dict[str, Any]] = dict(
            population=dict(color='0.7', s=14),
            uniform=dict(color='tab:orange', marker='s', s=45),
            dense=dict(color='black', marker='D', s=45),
        )
        for role, label in groups.items():
            points = self._points([record for record in searched if record.role == role])
            if points:
                axes.scatter(*zip(*points, strict=True), label=label, zorder=2, **styles[role])
        front = self._points(self.front())
        if front:
            axes.plot(*zip(*front, strict=True), '-', color='tab:blue', label='front', zorder=1)
        # At its place among the candidates: its score on the search's images.
        images = self.records.all[0].num_images
        best = [self.records.find(record.ratios, images) for record in winners.values()]
        points = self._points([record for record in best if record is not None])
        if points:
            star: dict[str, Any] = dict(color='tab:red', marker='*', s=180)
            axes.scatter(*zip(*points, strict=True), label='winner', zorder=3, **star)
        unit = self.settings.budgets[0].unit
        for budget in self.settings.budgets:
            if budget.unit == unit and budget.max < float('inf'):
                axes.axvline(budget.max, color='0.5', linestyle=':', zorder=0)
        axes.set_xlabel(UNITS[unit].format('share') if unit in ('latency', 'macs') else unit)
        axes.set_ylabel(f'{self.settings.score_name} on {images} images')
        axes.legend(fontsize='small')
        axes.grid(alpha=0.3)
        buffer = BytesIO()
        figure.savefig(buffer, format='png')
        return buffer.getvalue()
