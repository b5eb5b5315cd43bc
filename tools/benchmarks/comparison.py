"""Builds, counts and times the rows of a paper's table; gives plain values, for JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from sparse_mm.errors import BadInputError, nearest
from sparse_mm.progress import counting_bar, progress_bar
from sparse_mm.search.timing import describe_device, rounds_in_turns
from tools.benchmarks import memory
from tools.benchmarks.counting import count
from tools.benchmarks.passes import Pass, Setup
from tools.benchmarks.report import add_memory, machine, summarise_run
from tools.benchmarks.runs import Run, build
from tools.benchmarks.tables import Row, Table

REPEATS = 3, 300
Result = dict[str, Any]


@dataclass(frozen=True)
class Measurement:
    """What to do with each table.

    Attributes:
        device: Where to time.
        dtype: In which dtype.
        compile: The mode of ``torch.compile``, or ``'none'``.
        batch: Images to time at once; None for the table's own number.
        seconds: About how long to time each table.
        count_only: Whether to leave out time and memory.
    """

    device: str = 'cpu'
    dtype: str = 'float32'
    compile: str = 'none'
    batch: int | None = None
    seconds: float = 60.0
    count_only: bool = False


def select(tables: dict[str, Table], only: Sequence[str]) -> dict[str, list[Row]]:
    """Finds the rows to measure, table by table.

    Args:
        tables: Those to search.
        only: Names of rows, in whatever case; all rows if there are none.

    Raises:
        BadInputError: No table has a row of such a name.
    """
    known = {row.name for table in tables.values() for row in table.rows}
    wanted = {name.lower() for name in only}
    for name in only:
        if name.lower() not in {other.lower() for other in known}:
            raise BadInputError(
                f'--only {name!r}: no row of {", ".join(tables)} has that name'
                f'{nearest(name, known) or "."}'
            )
    chosen = {}
    for name, table in tables.items():
        rows = [row for row in table.rows if not wanted or row.name.lower() in wanted]
        if rows:
            chosen[name] = rows
    return chosen


def compare(name: str, table: Table, chosen: Sequence[Row], how: Measurement) -> Result:
    """Builds, counts and, if wanted, times rows of a table, and measures their memory.

    Args:
        name: Of the table.
        table: The table.
        chosen: Its rows to take. Where times are taken, the baseline comes with them.
        how: What to measure.

    Returns:
        Plain values: all that the report needs.
    """
    rows = list(chosen)
    if not how.count_only and table.baseline not in [row.name for row in rows]:
        rows.insert(0, next(row for row in table.rows if row.name == table.baseline))
    runs = [replace(row.make(), name=row.name) for row in rows]
    result = dict(
        table=name,
        title=table.title,
        source=table.source,
        columns=dict(table.columns),
        accuracy=table.accuracy,
        baseline=table.baseline,
        counted=table.counted,
        note=table.note,
        rows=[
            _counted(row, run, table)
            for row, run in progress_bar(f'{name}: counting', list(zip(rows, runs, strict=True)))
        ],
    )
    if not how.count_only:
        _measure(result, runs, table, how)
    return result


def _counted(row: Row, run: Run, table: Table) -> Result:
    """What a row costs, beside what the paper says."""
    counts = count(build(run, initialise=False), run.input_shape(table.counted))
    return dict(
        name=row.name,
        paper=dict(row.paper),
        note=row.note,
        image_size=list(run.image_size),
        frames=run.frames,
        gmacs=counts.macs / 1e9,
        in_the_papers_way=row.convention.macs(counts) / 1e9,
        convention=row.convention.text,
        params=counts.params,
    )


def _measure(result: Result, runs: list[Run], table: Table, how: Measurement) -> None:
    """Adds times, in turns, and memory."""
    setup = Setup(how.device, how.batch or table.batch, how.dtype, compile=how.compile)
    torch.manual_seed(0)
    passes = [
        Pass(run, setup, build(run)) for run in progress_bar(f'{result["table"]}: building', runs)
    ]
    device = torch.device(how.device)
    with counting_bar(f'{result["table"]}: timing') as progress:
        settled = device.type == 'cpu' and how.compile == 'none'
        rounds = rounds_in_turns(passes, device, how.seconds, REPEATS, progress, settled)
    seconds = [[ms / 1e3 for ms in values] for values in zip(*rounds, strict=True)]
    baseline = [run.name for run in runs].index(table.baseline)
    # Shares of the machine's matrix rate are benchmark.py's to tell.
    summarise = partial(summarise_run, baseline=seconds[baseline], products=(), side=1)
    result['rows'] = [
        summarise(row, values) for row, values in zip(result['rows'], seconds, strict=True)
    ]
    result['conditions'] = dict(
        describe_device(device),
        **machine(),
        dtype=how.dtype,
        compile=how.compile,
        batch=setup.batch,
        rounds=len(rounds),
    )
    del passes
    if table.with_memory and memory.can_measure(setup):
        found = []
        for run in progress_bar(f'{result["table"]}: memory', runs):
            found += memory.peak_memory([run], setup, torch.get_num_threads())
        add_memory(result['rows'], found, baseline)
        result['conditions']['memory'] = memory.define(how.device)
