"""Checks that an evaluator's annotations are those of its data set."""

import filecmp
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from sparse_mm.engine.hosts import (
    IMAGE_ID_METRICS,
    NUSCENES_METRICS,
    data_prefixes,
    dataset_needs,
    is_kind,
    is_remote,
    name_of,
)
from sparse_mm.engine.inspection import leaf_datasets, metric_configs


def check_evaluator(cfg: Config, split: str) -> list[str]:
    """Checks that the annotations an evaluator reads by itself are there, and belong to its set.

    An evaluator for joined data sets (mmdet's ``MultiDatasetsEvaluator``) has a metric for each of
    them, in their order.

    Args:
        cfg: The run's config.
        split: ``'val'`` or ``'test'``.
    """
    evaluator, loader = cfg.get(f'{split}_evaluator'), cfg.get(f'{split}_dataloader')
    if not isinstance(evaluator, dict | list | tuple) or not loader:
        return []
    datasets = list(leaf_datasets(loader['dataset']))
    if any(dataset_needs(dataset['type']).draws_itself for dataset in datasets):
        return []  # it makes the file
    metrics, prefixes = metric_configs(evaluator), data_prefixes(evaluator)
    sets = [datasets] * len(metrics)
    if prefixes:
        sets = [list(leaf_datasets(joined)) for joined in loader['dataset'].get('datasets') or ()]
        if not len(sets) == len(metrics) == len(prefixes):
            return [
                f'The {split}_evaluator has {len(metrics)} metrics and {len(prefixes)} '
                f'dataset_prefixes for {len(sets)} joined data sets; give it one of each for every '
                'data set, in their order.'
            ]
    problems = []
    for number, (metric, judged) in enumerate(zip(metrics, sets, strict=True)):
        path = metric.get('ann_file')
        if not isinstance(path, str) or not path or '://' in path or is_remote(metric):
            continue
        place = f'{split}_evaluator{_place(evaluator, number)}.ann_file'
        name = f'{name_of(metric["type"])} ({split}_evaluator)'
        if not os.path.exists(path):
            problems.append(
                f'{name} reads {path!r}, which is not there (looked for from {os.getcwd()!r}); set '
                f'{place} to the annotations of the {split} set.'
            )
            continue
        other = _of_another_set(metric['type'], Path(path), judged)
        if other:
            problems.append(
                f'{name} reads {path!r}, {other}; set {place} to the annotations of the {split} '
                'set.'
            )
    return problems


def needs_cuda(cfg: Config, split: str) -> bool:
    """Whether a split's evaluator joins boxes in cameras, for which the host's needs CUDA.

    ``MonoNuScenesMetric`` does the same on any device.
    """
    evaluator, loader = cfg.get(f'{split}_evaluator'), cfg.get(f'{split}_dataloader') or {}
    in_cameras = any(
        str(dataset.get('box_type_3d', '')).lower() == 'camera'
        for dataset in leaf_datasets(loader.get('dataset') or ConfigDict())
    )
    kind = name_of(evaluator.get('type', '')) if isinstance(evaluator, dict) else ''
    return in_cameras and kind == 'NuScenesMetric'


def _place(evaluator: Any, number: int) -> str:
    """Where a metric stands in its evaluator, as ``--cfg-options`` name it."""
    if not isinstance(evaluator, Mapping):
        return f'.{number}'
    inner = evaluator.get('metrics')
    return '' if inner is None else f'.metrics{_place(inner, number)}'


def _of_another_set(kind: Any, path: Path, datasets: Sequence[Mapping[str, Any]]) -> str:
    """Says how a metric's annotations differ from its data set's; nothing where they fit."""
    if len(datasets) != 1 or is_remote(datasets[0]) or not datasets[0].get('ann_file'):
        return ''
    own = Path(datasets[0].get('data_root') or '', datasets[0]['ann_file'])
    if not own.is_file() or own.samefile(path):
        return ''
    if is_kind(kind, *NUSCENES_METRICS):
        same = filecmp.cmp(own, path, shallow=False)
        return '' if same else f'which differs from {str(own)!r} of the data set'
    if not is_kind(kind, *IMAGE_ID_METRICS):
        return ''
    try:
        wanted, there = _images(own), _images(path)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ''  # what is wrong with such a file, others say
    lacking = [name for key, name in wanted.items() if there.get(key) != name]
    if not lacking:
        return ''
    return (
        f'which lacks {len(lacking)} of the {len(wanted)} images of the data set ({str(own)!r}), '
        f'such as {lacking[0]!r}'
    )


def _images(path: Path) -> dict[Any, str]:
    """The images of an annotation file, by their numbers; in whatever folders they lie."""
    images = json.loads(path.read_text())['images']
    return {
        image['id']: Path(image.get('file_name') or image.get('coco_url') or '').stem
        for image in images
    }
