"""The latency table of a search: the deployment's, or this run's own, which is measured once.

Rank 0 reads and measures; the others are told, since they may have no common disk.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from sparse_mm.engine.files import set_aside, write_atomically
from sparse_mm.engine.inspection import device_of
from sparse_mm.engine.search.identity import code_of, describe_hardware, differing, versions
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT
from sparse_mm.models.executors import marked_pass
from sparse_mm.progress import progress_bar
from sparse_mm.ranks import on_main_process
from sparse_mm.search.cost import BackboneShape, LatencyTable
from sparse_mm.search.estimate import NOISY
from sparse_mm.search.space import RatioSpace
from sparse_mm.search.timing import describe_device, measure_table


def table_for(
    path: Path,
    backbone: SparseViT,
    shape: BackboneShape,
    space: RatioSpace,
    settings: SearchSettings,
    say: Callable[[str], None],
) -> LatencyTable:
    """Reads the table that the settings name, or this run's own; measures it where it is not there.

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
                if not parts:
                    return table, [f'Latencies are taken from {path}: they were measured so.']
                why, mark = f'was measured with another {", ".join(parts)}', 'earlier'
            except BadInputError as error:
                why, mark = f'is no latency table ({error})', 'unreadable'
            kept = set_aside(path, mark)
            said.append(f'{path} {why}: it is now {kept.name}, and latencies are measured anew.')
        table = _measure(backbone, shape, space, settings)
        table.conditions['identity'] = identity
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, table.to_json())
        return LatencyTable.read(path), said

    table, said = on_main_process(read_or_measure)
    for sentence in said:
        say(sentence)
    return table


def digest_of_table(table: LatencyTable) -> str:
    """A digest of all that a table says."""
    return hashlib.sha256(table.to_json().encode()).hexdigest()


def _identity(
    backbone: SparseViT, shape: BackboneShape, space: RatioSpace, settings: SearchSettings
) -> dict[str, Any]:
    """What latencies depend on; not the weights."""
    device = device_of(backbone)
    structure = [
        f'{name} {type(module).__name__} {module.extra_repr()}'
        for name, module in backbone.named_modules()
    ]
    return dict(
        backbone=hashlib.sha256('\n'.join(structure).encode()).hexdigest(),
        shape=asdict(shape),
        choices=space.choices,
        dtype=settings.dtype,
        device={**describe_hardware(device), **describe_device(device)},
        versions=versions(),
        code=code_of(backbone.modules()),
    )


def _measure(
    backbone: SparseViT, shape: BackboneShape, space: RatioSpace, settings: SearchSettings
) -> LatencyTable:
    with progress_bar('Measuring latencies', quiet=not is_main_process()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        for _ in range(2):
            table = measure_table(
                backbone,
                shape,
                space,
                marked_pass,
                settings.dtype,
                settings.latency_seconds,
                progress=progress,
            )
            spread = table.conditions['spread']
            if spread is not None and spread <= NOISY:
                return table
    raise BadInputError(
        'The latencies cannot be measured while this machine does so much else: repeated, they '
        f'differ by {spread:.0%}; stop other programs, measure longer (latency_seconds), give a '
        'latency_table, or set a budget in macs.'
    )
