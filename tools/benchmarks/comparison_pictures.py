"""A comparison as pictures: accuracy against throughput and MACs, and what pixels cost."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tools.benchmarks.comparison import Result

OURS, THEIRS = 'C3', '0.35'
Point = tuple[float, float]


def pareto_front(points: Sequence[Point], smaller_is_better: bool) -> list[Point]:
    """The points that no other beats: at their accuracy or above, none is cheaper.

    Args:
        points: Of cost, or speed, and accuracy.
        smaller_is_better: Whether the first is a cost.

    Returns:
        The front, from the cheapest on.
    """
    sign = 1 if smaller_is_better else -1
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (sign * point[0], -point[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def draw(result: Result, kind: str = 'png') -> bytes | None:
    """Draws a table.

    Args:
        result: Of the comparison.
        kind: ``'png'``, ``'pdf'`` or ``'svg'``.

    Returns:
        The picture; None where there is nothing to draw.
    """
    if result['accuracy'] is None:
        return _draw_sizes(result, kind)
    rows = [row for row in result['rows'] if result['accuracy'] in row['paper']]
    if not rows:
        return None
    timed = 'conditions' in result
    figure, panels = _figure(2 if timed else 1, result['title'])
    heading = f'{result["columns"][result["accuracy"]]} (the paper’s)'
    if timed:
        label = f'throughput, of {result["baseline"]} (measured)'
        _scatter(panels[0], rows, 'faster', result['accuracy'], smaller_is_better=False)
        panels[0].set(xlabel=label, ylabel=heading)
    _scatter(panels[-1], rows, 'gmacs', result['accuracy'], smaller_is_better=True)
    panels[-1].set(xlabel='GMACs (counted)', ylabel=heading)
    return _bytes(figure, kind)


def draw_figure_3(results: Sequence[Result], kind: str = 'png') -> bytes | None:
    """Draws figure 3 of the SparseViT paper anew: accuracy over latency, measured here.

    Less resolution, less width and more sparsity, each as a line; nuScenes left, COCO right.

    Args:
        results: Of the comparison.
        kind: See :func:`draw`.

    Returns:
        The picture; None where one of the tables was not timed.
    """
    by_name = {result['table']: result for result in results}
    wanted = [by_name.get(name) for name in ('nuscenes', 'coco')]
    timed = [result for result in wanted if result is not None and 'conditions' in result]
    if len(timed) < 2:
        return None
    figure, panels = _figure(2, 'Less resolution, less width, more sparsity')
    for axes, result in zip(panels, timed, strict=True):
        families: dict[str, list[Point]] = {'resolution': [], 'width': [], 'SparseViT': []}
        for row in result['rows']:
            point = 1 / row['faster'], row['paper'][result['accuracy']]
            for family in _families(row['name']):
                families[family].append(point)
        for (family, points), style in zip(families.items(), ('s--', 'v:', 'o-'), strict=True):
            colour = OURS if family == 'SparseViT' else THEIRS
            axes.plot(*zip(*sorted(points), strict=True), style, color=colour, label=family)
        axes.set(
            title=result['title'].partition(':')[0],
            xlabel=f'latency, of {result["baseline"]} (measured)',
            ylabel=f'{result["columns"][result["accuracy"]]} (the paper’s)',
        )
        axes.legend()
    return _bytes(figure, kind)


def _families(name: str) -> list[str]:
    """The lines of figure 3 that a row belongs to; the dense one begins both of the dense."""
    if name.startswith('SparseViT'):
        return ['SparseViT']
    if '(R' in name:
        return ['resolution']
    return ['width'] if '(W' in name else ['resolution', 'width']


def _scatter(
    axes: Any, rows: Sequence[Result], key: str, accuracy: str, smaller_is_better: bool
) -> None:
    points = [(row[key], row['paper'][accuracy]) for row in rows]
    for i, (point, row) in enumerate(
        sorted(zip(points, rows, strict=True), key=lambda pair: pair[0])
    ):
        ours = 'Sparse' in row['name']
        axes.plot(*point, 'o', color=OURS if ours else THEIRS)
        offset = 5, 4 if i % 2 == 0 else -9  # neighbours' names lie apart
        axes.annotate(
            row['name'], point, textcoords='offset points', xytext=offset, fontsize='x-small'
        )
    front = pareto_front(points, smaller_is_better)
    axes.plot(*zip(*front, strict=True), '-', color='C0', zorder=0, label='Pareto front')
    if max(x for x, _ in points) > 10 * min(x for x, _ in points):
        axes.set_xscale('log')
    axes.legend()


def _draw_sizes(result: Result, kind: str) -> bytes:
    """MACs, memory and latency over the side of the images, a line for each model."""
    rows = result['rows']
    panels: list[tuple[str, Any]] = [('GMACs', lambda row: row['gmacs'])]
    if 'conditions' in result:
        if 'peak_memory' in rows[0]:
            panels.append(('peak memory (MiB)', lambda row: row['peak_memory'] / 2**20))
        panels.append((f'latency, of {result["baseline"]}', lambda row: 1 / row['faster']))
    figure, axes = _figure(len(panels), result['title'])
    models: dict[str, list[Result]] = {}
    for row in rows:
        models.setdefault(row['name'].rpartition(',')[0], []).append(row)
    for panel, (label, value) in zip(axes, panels, strict=True):
        for name, own in models.items():
            sides = [row['image_size'][0] for row in own]
            panel.plot(sides, [value(row) for row in own], 'o-', label=name)
        panel.set(xlabel='side of the image (pixels)', ylabel=label, xscale='log', yscale='log')
        ticks = sorted({row['image_size'][0] for row in rows})
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.legend()
    return _bytes(figure, kind)


def _figure(panels: int, title: str) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(6 * panels, 5), layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for one in axes:
        one.spines[['top', 'right']].set_visible(False)
    return figure, axes


def _bytes(figure: Figure, kind: str) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format=kind, dpi=110)
    return picture.getvalue()
