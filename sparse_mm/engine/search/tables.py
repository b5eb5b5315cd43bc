"""The latency table of a search: the deployment's, or this run's own, which is measured once.

Rank 0 reads and measures, and sends the table to the others, which may not share its disk.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from sparse_mm.deploy import DeployedBackbone
from sparse_mm.engine.files import set_aside, write_atomically
from sparse_mm.engine.inspection import device_of
from sparse_mm.engine.search.identity import code_of, describe_hardware, differing, versions
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.swin_backbone import SwinBackbone
from sparse_mm.models.executors import marked_pass
from sparse_mm.progress import progress_bar
from sparse_mm.ranks import on_main_process
from sparse_mm.search.cost import BackboneShape, LatencyTable
from sparse_mm.search.estimate import NOISY
from sparse_mm.search.space import Candidate, RatioSpace
from sparse_mm.search.timing import Progress, describe_device, measure_table
from sparse_mm.search.whole_passes import measure_whole_table


def table_for(
    path: Path,
    backbone: SwinBackbone,
    shape: BackboneShape,
    space: RatioSpace,
    settings: SearchSettings,
    say: Callable[[str], None],
) -> LatencyTable:
    """Reads the table that the settings name, or this run's own; measures it if it is missing.

    Args:
        path: Of this run's own table.
        backbone: The backbone, on the device to measure.
        shape: Its image size and batch.
        space: The ratios.
        settings: Of the search.
        say: Takes sentences for the log.

    Raises:
        BadInputError: The deployment's table cannot be read.
    """
    if settings.latency_table is not None:
        named = settings.latency_table
        return on_main_process(lambda: LatencyTable.read(named))
    identity = json.loads(json.dumps(_identity(backbone, shape, space, settings)))

    def read_or_measure() -> tuple[LatencyTable, list[str]]:
        said = []
        if path.exists():
            try:
                table = LatencyTable.read(path)
                parts = differing(table.conditions.get('identity') or {}, identity)
                if settings.in_milliseconds and table.conditions.get('clock') == 'cpu':
                    parts = ['clock']
                if not parts:
                    return table, [f'Latencies are taken from {path}: they were measured so.']
                why, mark = f'was measured with another {", ".join(parts)}', 'earlier'
            except BadInputError as error:
                why, mark = f'is no latency table ({error})', 'unreadable'
            kept = set_aside(path, mark)
            said.append(f'{path} {why}: it is now {kept.name}, and latencies are measured again.')
        table = _measure(backbone, shape, space, settings)
        if table.conditions.get('clock') == 'cpu':
            said.append(
                'Other programs keep this machine busy: latencies are CPU time of one thread, '
                'shared out to all, relative to the dense pass.'
            )
        table.conditions['identity'] = identity
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, table.to_json())
        return LatencyTable.read(path), said

    table, said = on_main_process(read_or_measure)
    for sentence in said:
        say(sentence)
    return table


def measure(
    backbone: SwinBackbone,
    shape: BackboneShape,
    space: RatioSpace,
    engine: str,
    precision: str,
    dtype: str,
    seconds: float,
    progress: Progress,
    checks: Sequence[Candidate] = (),
    relative: bool = True,
) -> LatencyTable:
    """Measures a table on an engine: component by component in PyTorch, by whole passes elsewhere.

    If other programs disturb a table too much, it is measured once more; on a CPU in CPU time of
    one thread, which they do not increase. Its ``spread`` shows whether it can be trusted
    (:data:`sparse_mm.search.estimate.NOISY`).

    Args:
        backbone: The backbone, on the device to measure.
        shape: Its image size and batch.
        space: The ratios.
        engine: What computes the passes.
        precision: Of the backbone there.
        dtype: Of PyTorch's autocast, where that is what computes in float32.
        seconds: About how long to measure.
        progress: Called with what is done and how much there is.
        checks: Settings to measure whole, in PyTorch; elsewhere those of the fit are.
        relative: Whether ratios to the dense pass are wanted, for which one thread's CPU time will
            do, not milliseconds.
    """
    second = 'cpu' if device_of(backbone).type == 'cpu' and relative else 'wall'
    if (engine, precision) == ('torch', 'float32'):

        def by(clock: str, hopeless: float) -> LatencyTable:
            return measure_table(
                backbone,
                shape,
                space,
                marked_pass,
                dtype,
                seconds,
                progress=progress,
                checks=checks,
                clock=clock,
                hopeless=hopeless,
            )

        table = by('wall', NOISY if second == 'cpu' else inf)
        return table if is_steady(table) else by(second, inf)
    deployed = DeployedBackbone(backbone, engine, precision)
    for clock in ('wall', second):
        table = measure_whole_table(deployed, shape, space, seconds, progress=progress, clock=clock)
        if is_steady(table):
            break
    table.conditions.update(engine=engine, dtype=precision, **deployed.engine.versions())
    return table


def is_steady(table: LatencyTable) -> bool:
    """Whether two halves of a table's rounds agree well enough to trust it."""
    spread = table.conditions['spread']
    return spread is not None and spread <= NOISY


def digest_of_table(table: LatencyTable) -> str:
    """A digest of all that a table says."""
    return hashlib.sha256(table.to_json().encode()).hexdigest()


def _identity(
    backbone: SwinBackbone, shape: BackboneShape, space: RatioSpace, settings: SearchSettings
) -> dict[str, Any]:
    """What latencies depend on; not the weights."""
    device = device_of(backbone)
    structure = [
        f'{name} {type(module).__name__} {module.extra_repr()}'
        for name, module in backbone.named_modules()
    ]
    engine = dict(engine=[settings.engine, settings.precision]) if settings.deployed else {}
    return dict(
        engine,
        backbone=hashlib.sha256('\n'.join(structure).encode()).hexdigest(),
        shape=asdict(shape),
        choices=space.choices,
        dtype=settings.dtype,
        device={**describe_hardware(device), **describe_device(device)},
        versions=versions(),
        code=code_of(backbone.modules()),
    )


def _measure(
    backbone: SwinBackbone, shape: BackboneShape, space: RatioSpace, settings: SearchSettings
) -> LatencyTable:
    with progress_bar('Measuring latencies', quiet=not is_main_process()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        table = measure(
            backbone,
            shape,
            space,
            settings.engine,
            settings.precision,
            settings.dtype,
            settings.latency_seconds,
            progress,
            relative=not settings.in_milliseconds,
        )
    if is_steady(table):
        return table
    spread = table.conditions['spread']
    difference = 'too much' if spread is None else f'by {spread:.0%}'
    raise BadInputError(
        'The latencies cannot be measured while this machine does so much else: repeated, they '
        f'differ {difference}; stop other programs, measure longer (latency_seconds), give a '
        'latency_table, or set a budget in macs.'
    )
