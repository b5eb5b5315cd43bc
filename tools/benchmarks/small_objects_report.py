"""The tables of small_objects.py: metrics from its folders, and latencies measured side by side."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from sparse_mm.engine.image_sizes import usual_image_size
from sparse_mm.engine.inspection import backbone_shape, build_backbone, find_backbone
from sparse_mm.engine.logged import scalars
from sparse_mm.errors import BadInputError
from sparse_mm.search.estimate import fastest_eighth
from sparse_mm.search.timing import for_timing, random_images, rounds_in_turns
from tools.benchmarks.compare_searches import spread

BOX, MASK = 'coco/bbox_mAP', 'coco/segm_mAP'
CLAIMS = {
    'unadapted': 'not adapted',
    'blocks': 'ranked in every block',
    'attention': 'ranked by attention among windows',
    'random': 'ranked at random',
}
# Which of the compared settings are finetuned in these ways, by what their folders begin with.
SETTINGS = {'': 'the first winner', 'uniform_': 'uniform ratios'}
BATCH = 2


def resized(cfg: Config, size: int) -> dict[str, Any]:
    """What to change so that a config's detector sees its images at another size.

    Args:
        cfg: With square images; the pipelines' Resize and the RPN's anchors are changed alike.
        size: Of a whole image, in pixels.

    Returns:
        Options by their names, for ``--cfg-options`` or ``Config.merge_from_dict``.

    Raises:
        BadInputError: The config has no anchors whose scales could be changed.
    """
    scales = cfg.get('model', {}).get('rpn_head', {}).get('anchor_generator', {}).get('scales')
    if scales is None:
        raise BadInputError(
            f"{cfg.filename!r} has no 'model.rpn_head.anchor_generator.scales' to change with the "
            'size of images; choose configs of a detector with an RPN.'
        )
    whole = usual_image_size(cfg, 'test')[0]
    options: dict[str, Any] = {}
    for split in ('train', 'val', 'test'):
        for index, transform in enumerate(cfg[f'{split}_dataloader'].dataset.pipeline):
            if transform['type'] == 'Resize':
                side = round(transform['scale'][0] * size / whole)
                options[f'{split}_dataloader.dataset.pipeline.{index}.scale'] = (side, side)
    options['model.rpn_head.anchor_generator.scales'] = [s * size / whole for s in scales]
    return options


def relative_latencies(models: Sequence[tuple[Config, int]], seconds: float) -> list[float]:
    """Times dense backbones in turns.

    Args:
        models: A config and the size of its square images, for each.
        seconds: About how long to measure in all.

    Returns:
        For each the fastest eighth of its passes, as a share of the first one's.
    """
    device = torch.device('cpu')
    with ExitStack() as stack:
        runs = []
        for cfg, size in models:
            backbone = find_backbone(build_backbone(cfg))
            backbone.override_ratios(0)
            stack.enter_context(for_timing(backbone))
            shape = backbone_shape(backbone, (size, size), BATCH)
            runs.append(partial(backbone, random_images(shape, device)))
        rounds = rounds_in_turns(runs, device, seconds)
    times = [fastest_eighth(values) for values in zip(*rounds, strict=True)]
    return [value / times[0] for value in times]


def tested(folder: Path, kind: str) -> dict[str, float]:
    """The metrics of the newest test of a dense detector."""
    newest = max((folder / f'test_{kind}').glob('*/*.json'))
    return json.loads(newest.read_text())


def finetuned(folder: Path, name: str, seeds: Sequence[int], metric: str) -> list[float]:
    """A metric at the end of finetunings, one for each seed."""
    rows = [scalars(folder / f'{name}_{seed}') for seed in seeds]
    return [[row[metric] for row in own if metric in row][-1] for own in rows]


def training(folder: Path, weights: Path) -> str:
    """The dense training's curve, and the hash of what it ended with."""
    curve = [row[BOX] for row in scalars(folder / 'dense') if BOX in row]
    return (
        f'Dense after each epoch: {", ".join(f"{value:.3f}" for value in curve)}; '
        f'{weights.name} has the SHA-256 {hashlib.sha256(weights.read_bytes()).hexdigest()}.'
    )


def dense_table(
    folder: Path,
    kinds: dict[str, str],
    sizes: Sequence[int],
    seeds: Sequence[int],
    latencies: Sequence[float],
) -> list[str]:
    """The dense detectors: trained from scratch, and trained further at other sizes.

    Args:
        folder: Of all runs.
        kinds: Those from scratch, and what the table calls them.
        sizes: Those of the detectors that were trained further.
        seeds: Of their finetunings.
        latencies: Of the backbones, in the same order.
    """
    lines = ['| | box mAP | mask mAP | latency |', '| --- | --- | --- | --- |']
    found = [
        (name, *(f'{tested(folder, kind)[m]:.3f}' for m in (BOX, MASK)))
        for kind, name in kinds.items()
    ]
    for size in sizes:
        values = (spread(finetuned(folder, f'size_{size}', seeds, m)) for m in (BOX, MASK))
        found.append((f'dense, trained further at {size}×{size}', *values))
    for cells, latency in zip(found, latencies, strict=True):
        lines.append(f'| {" | ".join(cells)} | {latency:.3f} |')
    return lines


def claims_table(folder: Path, rows: dict[str, dict[str, Any]], seeds: Sequence[int]) -> list[str]:
    """Settings finetuned in every way.

    Args:
        folder: Of all runs.
        rows: The rows of comparison.json with the settings, by their names in :data:`SETTINGS`.
        seeds: Of the finetunings.
    """
    lines = [f'| box mAP, finetuned | {" | ".join(rows)} |', f'| --- |{" --- |" * len(rows)}']
    values = [[metrics[BOX] for metrics in row['metrics'][: len(seeds)]] for row in rows.values()]
    lines.append(f'| adapted, one ranking a stage by L2 | {" | ".join(map(spread, values))} |')
    for claim, name in CLAIMS.items():
        values = [finetuned(folder, setting + claim, seeds, BOX) for setting in SETTINGS]
        lines.append(f'| {name} | {" | ".join(map(spread, values))} |')
    return lines
