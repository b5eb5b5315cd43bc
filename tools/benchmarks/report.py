"""What a benchmark found: ratios to the baseline, rates, a Markdown table, a plot."""

import io
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tools.benchmarks.runs import Run

PACKAGES = (
    'torch',
    'onnxruntime',
    'openvino',
    'mmcv',
    'mmcv-lite',
    'mmengine',
    'mmdet',
    'mmpretrain',
    'sparse_mm',
)
Summary = dict[str, Any]


def machine() -> dict[str, str]:
    """The processor, and the versions of what computes."""
    found = {'processor': _processor()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # the backbones alone need fewer packages
    found['torch'] = torch.__version__  # with its build: +cpu, +cu128
    return found


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def spread(values: Sequence[float]) -> list[float]:
    """Median, first and third quartile."""
    low, _, high = quantiles(values, n=4)
    return [median(values), low, high]


def summarise_products(seconds: dict[str, list[float]], side: int) -> list[Summary]:
    """Gives the rates of the matrix products, the fastest first.

    Args:
        seconds: For each product its times, round by round.
        side: Of the matrices.
    """
    rates = {name: 2e-9 * side**3 / median(values) for name, values in seconds.items()}
    return [
        dict(name=name, gflops=rates[name], seconds=seconds[name])
        for name in sorted(rates, key=lambda name: -rates[name])
    ]


def summarise_run(
    row: Summary,
    seconds: Sequence[float],
    baseline: Sequence[float],
    products: Sequence[Summary],
    side: int,
) -> Summary:
    """Adds to a run what its times say.

    Ratios are taken within each round, where both had the same machine, and their median is given;
    where the machine changes its pace from round to round, that is steadier than the ratio of
    medians.

    Args:
        row: The run so far, with its ``gmacs``.
        seconds: Its times, round by round.
        baseline: Those of the baseline.
        products: What :func:`summarise_products` gave.
        side: Of the products' matrices.
    """
    usual, low, high = spread(seconds)
    faster, slowest, fastest = spread([b / s for b, s in zip(baseline, seconds, strict=True)])
    shares = {}
    for product in products:
        work = row['gmacs'] * 1e9 / side**3
        pairs = zip(product['seconds'], seconds, strict=True)
        shares[product['name']] = median(work * p / s for p, s in pairs)
    return dict(
        row,
        median_ms=usual * 1e3,
        quartiles_ms=[low * 1e3, high * 1e3],
        of_baseline=1 / faster,
        faster=faster,
        faster_quartiles=[slowest, fastest],
        gflops=2 * row['gmacs'] / usual,
        share_of_products=shares,
        seconds=list(seconds),
    )


def add_engines(rows: list[Summary], runs: Sequence[Run], baseline: int) -> None:
    """Adds how much faster each run is than the baseline in the same engine and precision.

    Args:
        rows: The runs, with their times.
        runs: The same, as they were given: each on several engines.
        baseline: Its place among them.
    """
    settings, size = runs[baseline].settings, runs[baseline].image_size
    for row, run in zip(rows, runs, strict=True):
        same = [
            other['seconds']
            for other, its in zip(rows, runs, strict=True)
            if (its.settings, its.image_size) == (settings, size)
            and (its.engine, its.precision) == (run.engine, run.precision)
        ]
        row.update(engine=run.engine, precision=run.precision, in_engine=None)
        if same:  # the baseline may be left out in a precision that it cannot compute in
            pairs = zip(same[0], row['seconds'], strict=True)
            row['in_engine'] = median(other / own for other, own in pairs)


def add_memory(rows: list[Summary], found: Sequence[int], baseline: int) -> None:
    """Adds the peak memory to the runs.

    Args:
        rows: The runs.
        found: Bytes.
        baseline: Its place among the runs.
    """
    for row, memory in zip(rows, found, strict=True):
        row['peak_memory'] = memory
        # Of very small images nothing may be seen in pages of 4 KiB.
        row['memory_of_baseline'] = memory / found[baseline] if found[baseline] else None


def markdown(result: dict[str, Any]) -> str:
    """Makes the table; milliseconds only where they mean something, on a GPU."""
    conditions, rows = result['conditions'], result['runs']
    products = [product['name'] for product in result['matrix_products']]
    on_gpu = conditions['device'] != 'CPU'
    with_memory = 'peak_memory' in rows[0]
    with_engines = 'in_engine' in rows[0]
    head = ['backbone', 'size', 'GMACs', 'of baseline', 'faster by']
    head += ['in its engine'] if with_engines else []
    head += ['ms'] if on_gpu or with_engines else []
    head += ['peak memory', 'of baseline'] if with_memory else []
    head += [f'share of {name}' for name in products]
    lines = [head, ['---'] * len(head)]
    macs = {row['name']: row['gmacs'] for row in rows}[conditions['baseline']]
    for row in rows:
        low, high = row['faster_quartiles']
        cells = [row['name'], '×'.join(map(str, row['image_size'])), f'{row["gmacs"]:.2f}']
        cells += [f'{row["gmacs"] / macs:.3f}', f'{row["faster"]:.2f}× ({low:.2f}–{high:.2f})']
        if with_engines:
            own = row['in_engine']
            cells.append('' if own is None else f'{own:.2f}×')
        cells += [f'{row["median_ms"]:.2f}'] if on_gpu or with_engines else []
        if with_memory:
            share = row['memory_of_baseline']
            cells.append(f'{row["peak_memory"] / 2**20:.0f} MiB')
            cells.append('–' if share is None else f'{share:.2f}')
        cells += [f'{row["share_of_products"][name]:.0%}' for name in products]
        lines.append(cells)
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def plot(result: dict[str, Any], kind: str) -> bytes:
    """Draws each run's share of the latency over its share of the MACs.

    Args:
        result: What was measured.
        kind: Of the picture: ``'png'``, ``'pdf'`` or ``'svg'``.
    """
    conditions, rows = result['conditions'], result['runs']
    baseline = {row['name']: row for row in rows}[conditions['baseline']]
    figure = Figure(figsize=(6, 5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    furthest = 1.0
    for row in rows:
        macs = row['gmacs'] / baseline['gmacs']
        latency = row['of_baseline']
        fastest, slowest = sorted(1 / share for share in row['faster_quartiles'])
        axes.errorbar(
            macs,
            latency,
            [[latency - fastest], [slowest - latency]],
            fmt='k*' if row is baseline else 'o',
            markersize=12 if row is baseline else 7,
            capsize=3,
            label=row['name'],
        )
        furthest = max(furthest, macs, slowest)
    limit = 1.15 * furthest
    axes.plot([0, limit], [0, limit], color='0.7', linestyle='--', zorder=0)
    axes.set(
        xlim=(0, limit),
        ylim=(0, limit),
        xlabel=f'MACs, of {baseline["name"]}',
        ylabel=f'latency, of {baseline["name"]} (median, quartiles)',
        title=f'{conditions["processor" if conditions["device"] == "CPU" else "device"]}, '
        f'{conditions["dtype"]}, batch {conditions["batch"]}, {conditions["mode"]}',
    )
    axes.legend(loc='upper left')
    axes.spines[['top', 'right']].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format=kind, dpi=150)
    return picture.getvalue()
