"""Checks that the files of a run's data sets exist, in the hosts' format."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from sparse_mm.engine.checks.annotation_files import check_info_file, check_label_maps, is_cut_json
from sparse_mm.engine.checks.class_folders import check_class_folders
from sparse_mm.engine.checks.evaluators import check_evaluator
from sparse_mm.engine.hosts import (
    DatasetNeeds,
    create_infos_command,
    dataset_needs,
    is_remote,
    name_of,
)
from sparse_mm.engine.inspection import leaf_datasets
from sparse_mm.named_weights import first_few


def check_data(cfg: Config, splits: tuple[str, ...]) -> list[str]:
    """Checks that annotation files and image folders are there, whole, and of today's format.

    Args:
        cfg: The run's config.
        splits: Of ``'train'``, ``'val'``, ``'test'``, those that the run will read.

    Returns:
        A sentence for each data set that is not there, and for each file that cannot be used.
    """
    problems: list[str] = []
    absent: dict[tuple[str, str], dict[str, list[Path]]] = {}  # by kind and root, by split
    needs_of: dict[str, DatasetNeeds] = {}
    for split, dataset in _datasets(cfg, splits):
        needs, name, root = dataset_needs(dataset['type']), name_of(dataset['type']), _root(dataset)
        makes_it = needs.draws_itself and dataset.get('download') is not False
        if makes_it or is_remote(dataset):
            continue
        needs_of[name] = needs
        for path in _paths(dataset, needs):
            if path.exists():
                problems += _check_file(path, dataset, needs, split)
            else:
                found = absent.setdefault((name, root), {}).setdefault(split, [])
                found += [path] if path not in found else []
    for (name, root), by_split in absent.items():
        problems.append(_say_absent(name, root, by_split, needs_of[name]))
    if not absent:  # else the evaluators' files lie in the same folder
        for split in splits:
            problems += check_evaluator(cfg, split) if split != 'train' else []
    head = (cfg.get('model') or {}).get('head')
    num_classes = head.get('num_classes') if isinstance(head, dict) else None
    return problems + check_class_folders(_datasets(cfg, splits), num_classes)


def _datasets(cfg: Config, splits: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in leaf_datasets(loader['dataset']) if loader else ():
            yield split, dataset


def _root(dataset: dict[str, Any]) -> str:
    return dataset.get('data_root') or ''


def _paths(dataset: dict[str, Any], needs: DatasetNeeds) -> list[Path]:
    """The files and folders that a data set reads."""
    needed = [dataset.get('ann_file') or '']
    if any(is_remote(step) for step in dataset.get('pipeline') or ()):
        # The annotations are local, the pictures are not.
        return [Path(_root(dataset), needed[0])] if needed[0] else []
    needed += _prefixes(dataset.get('data_prefix'))
    if needs.split_folder and not any(needed):
        needed = [dataset.get('split') or '']
    root = _root(dataset)
    needed = [path for path in needed if '://' not in f'{root}{path}']  # MMEngine fetches those
    if '://' in root:
        return []
    # Without any path of its own a data set reads its root.
    return [Path(root, path) for path in needed if path] or [Path(root)]


def _prefixes(data_prefix: dict | str | None) -> list[str]:
    if isinstance(data_prefix, dict):
        return [value for value in data_prefix.values() if isinstance(value, str)]
    return [data_prefix] if data_prefix else []


def _check_file(path: Path, dataset: dict[str, Any], needs: DatasetNeeds, split: str) -> list[str]:
    """Checks a file or folder that is there."""
    root = Path(_root(dataset))
    if path.suffix == '.json' and is_cut_json(path):
        return [
            f'{name_of(dataset["type"])} ({split}) is incomplete: the annotation file '
            f'{str(path)!r} is truncated. {needs.hint(split)}.'
        ]
    if path.suffix == '.pkl' and needs.info_files:
        return check_info_file(path, root)
    maps = needs.label_maps
    if maps is not None and dataset.get('seg_map_suffix', maps.suffix) == maps.suffix:
        return check_label_maps(path, root, needs.name, maps)
    return []


def _say_absent(name: str, root: str, by_split: dict[str, list[Path]], needs: DatasetNeeds) -> str:
    """The message for one data set: what is missing in its splits, and what to do."""
    paths = list(dict.fromkeys(path for paths in by_split.values() for path in paths))
    hint = needs.hint(next(iter(by_split)))
    infos = [path for path in paths if path.suffix == '.pkl']
    if needs.info_files and infos and Path(root).is_dir():
        hint += f'. The info files are made by: {create_infos_command(Path(root))}'
    return (
        f'{name} ({" and ".join(by_split)}) is missing or incomplete: there is no '
        f'{first_few([repr(str(path)) for path in paths])} (looked for from {os.getcwd()!r}). '
        f'{hint}.'
    )
