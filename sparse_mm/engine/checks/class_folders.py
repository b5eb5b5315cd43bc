"""Data sets that take their labels from folders, one for each class, as mmpretrain numbers them.

In mmpretrain itself, a missing folder ends in an assertion, and sets with different folders
silently have different labels for the same class.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparse_mm.engine.hosts import DatasetNeeds, dataset_needs, is_remote
from sparse_mm.named_weights import first_few


def check_class_folders(
    datasets: Iterable[tuple[str, Mapping[str, Any]]], num_classes: int | None
) -> list[str]:
    """Checks that there is a folder for each class, and a class for each folder.

    Args:
        datasets: Splits with their data sets' configs.
        num_classes: Of the model's head; None if that is not known.
    """
    problems = []
    unnamed: dict[str, list[str]] = {}  # folders of the splits that are numbered by them alone
    for split, dataset in datasets:
        needs = dataset_needs(dataset['type'])
        folder = _folder(dataset, needs) if needs.class_folders else None
        if folder is None or not folder.is_dir():
            continue
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        classes = _count_classes(dataset, needs)
        if not names:
            problems.append(
                f'The {split} set has no folder for each class in {str(folder)!r}: move each '
                f'picture into the folder of its class, such as {str(folder / "n01440764")!r}, or '
                'name the labels by ann_file (a picture and its number in each line).'
            )
        elif classes is not None and classes != len(names):
            problems.append(
                f'The {split} set has {len(names)} class folders in {str(folder)!r}, and its '
                f'config names {classes} classes; copy the folders that are missing, or name those '
                f'that are there by metainfo=dict(classes=[…]) of {split}_dataloader.dataset.'
            )
        elif num_classes is not None and num_classes < len(names):
            problems.append(
                f'The {split} set has {len(names)} classes, and the head of the model {num_classes}'
                '; set num_classes of model.head to theirs.'
            )
        elif classes is None:
            unnamed[split] = names
    train = unnamed.pop('train', None)
    for split, names in unnamed.items():
        differing = sorted(set(names) ^ set(train or names))
        if differing:
            problems.append(
                f'The train set and the {split} set have different class folders '
                f'({first_few(differing)}), and would number their classes differently; make the '
                'folders alike (one may be empty), or label them by ann_file.'
            )
    return problems


def _folder(dataset: Mapping[str, Any], needs: DatasetNeeds) -> Path | None:
    """The folder of the classes' folders; None where labels come from elsewhere."""
    split = dataset.get('split') or '' if needs.split_folder else ''
    root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix') or split
    prefix = prefix.get('img_path', '') if isinstance(prefix, Mapping) else prefix
    labelled = dataset.get('ann_file') or (split and Path(root, 'meta', f'{split}.txt').exists())
    if labelled or not dataset.get('with_label', True) or split == 'test' or is_remote(dataset):
        return None
    return None if '://' in f'{root}{prefix}' else Path(root, prefix)


def _count_classes(dataset: Mapping[str, Any], needs: DatasetNeeds) -> int | None:
    named = (dataset.get('metainfo') or {}).get('classes') or dataset.get('classes')
    if isinstance(named, str):
        path = Path(named).expanduser()
        return len(path.read_text().splitlines()) if path.is_file() else None
    return needs.num_classes if named is None else len(named)
