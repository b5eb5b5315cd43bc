"""Checks of a loaded data set: a sample of its images, and all cameras."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.fileio import load
from torch import nn

from sparse_mm.engine.checks.cameras import check_cameras
from sparse_mm.engine.hosts import create_infos_command, is_remote
from sparse_mm.engine.inspection import bare

HEADS = 'bbox_head', 'mask_head'  # which have a class for each of the data set's


def check_samples(dataset: Any, split: str, num_images: int) -> list[str]:
    """Checks a sample of a data set's files, and all of its cameras.

    Args:
        dataset: The data set, loaded.
        split: Name for the messages.
        num_images: How many samples to check, evenly spread over the data set.
    """
    if len(dataset) == 0:
        return [
            f'The {split} set has no image with annotations of its classes; check that its '
            'annotation file and its metainfo.classes belong together.'
        ]
    if not hasattr(dataset, 'get_data_info'):
        return []
    inner = _inner(dataset)
    if any(map(is_remote, _readers(dataset))):
        return []
    problems = check_cameras(inner, split)  # once, if repeated
    problems += _check_boxes(inner, split)
    step = max(1, len(dataset) // num_images)
    paths = [p for i in range(0, len(dataset), step) for p in _paths(dataset.get_data_info(i))]
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        problems.append(
            f'The {split} set is incomplete: {len(missing)} of {len(paths)} files are '
            f'missing, the first is {missing[0]!r}; copy or unpack the data set again.'
        )
    return problems


def check_labels(train: Any, val: Any) -> list[str]:
    """Checks that the same category has the same label in both sets (mmdet's COCO data sets).

    The host numbers the categories that a file has; one that lists fewer shifts the others.

    Args:
        train: The training set, loaded.
        val: The validation set, loaded.
    """
    first, second = (getattr(_inner(dataset), 'cat2label', None) for dataset in (train, val))
    if not isinstance(first, dict) or not isinstance(second, dict):
        return []
    if all(first.get(key, label) == label for key, label in second.items()):
        return []
    # Only now the files are read: two files may number the same categories in different ways.
    own, other = (_labels_by_name(_inner(dataset)) for dataset in (train, val))
    shifted = [name for name, label in other.items() if own.get(name, label) != label]
    if not shifted:
        return []
    name = shifted[0]
    return [
        f'The train set has {len(own)} of the classes in its annotation file and the val set '
        f'{len(other)}, so that {name!r} is label {own[name]} in one and {other[name]} in the '
        'other; list all categories, in one order, in both files.'
    ]


def _labels_by_name(dataset: Any) -> dict[str, int]:
    """The label of each category of a COCO file; empty where that cannot be read here."""
    try:
        listed = load(dataset.ann_file)['categories']
        names = {one['id']: one['name'] for one in listed}
        return {names[number]: label for number, label in dataset.cat2label.items()}
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return {}


def check_class_count(dataset: Any, split: str, num_classes: int, model: nn.Module) -> list[str]:
    """Checks that a model has as many classes as a data set, where one of the two counts them.

    A detector whose heads have fewer learns wrong labels or fails at one; where they have more, the
    metric fails at the first box of a class that the data set has not. Models that are told their
    classes by a text have any number.

    Args:
        dataset: Any data set, loaded.
        split: Name for the message.
        num_classes: Of the model's heads.
        model: The model itself.
    """
    ask = getattr(_inner(dataset), 'check_classes', None)
    if ask:
        return ask(num_classes)
    meta = getattr(dataset, 'metainfo', None)  # of joined sets that differ it is a list
    meta = meta if isinstance(meta, Mapping) else {}
    # Of a panoptic data set boxes and their masks have the things alone.
    classes = meta.get('thing_classes') or meta.get('classes')
    model = bare(model)
    if not isinstance(classes, list | tuple) or hasattr(model, 'language_model'):
        return []
    wrong = {name: number for name, number in _box_heads(model) if number != len(classes)}
    if not wrong:
        return []
    listed = ', '.join(f'{name}.num_classes={number}' for name, number in wrong.items())
    return [
        f'The {split} set has {len(classes)} classes, and the model {listed}; let num_classes of '
        "the heads be the number of the data set's classes (metainfo=dict(classes=[…]) of every "
        'data set names them).'
    ]


def _box_heads(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Yields the heads of detectors of mmdet and mmdet3d that class boxes, and their classes."""
    for name, module in model.named_modules():
        role = next((part for part in reversed(name.split('.')) if not part.isdigit()), '')
        number = getattr(module, 'num_classes', None)
        packages = {kind.__module__.partition('.')[0] for kind in type(module).mro()}
        # In a second stage mmdet3d's heads may refine boxes without their classes.
        theirs = 'mmdet' in packages or ('mmdet3d' in packages and 'roi_head' not in name)
        agnostic = getattr(module, 'class_agnostic', False)
        if theirs and role.endswith(HEADS) and isinstance(number, int) and not agnostic:
            yield name, number


def check_categories(dataset: Any, split: str, num_classes: int) -> list[str]:
    """Checks that an annotation file lists what a model may find (mmdet's COCO data sets).

    The host's metric looks the categories up by their labels, and fails at one that is not listed.

    Args:
        dataset: The validation or test set, loaded.
        split: Name for the message.
        num_classes: Of the model's heads.
    """
    inner = _inner(dataset)
    listed = getattr(inner, 'cat_ids', None)
    meta = getattr(inner, 'metainfo', None)  # of joined sets that differ it is a list
    classes = meta.get('classes') or () if isinstance(meta, Mapping) else ()
    if not isinstance(listed, list) or not len(listed) < min(num_classes, len(classes)):
        return []
    return [
        f"The {split} set's annotation file lists {len(listed)} of the {len(classes)} classes, and "
        f'the model has {num_classes}; list all categories in the file, or name those that there '
        f'are by metainfo=dict(classes=[…]) of every data set and num_classes of the heads.'
    ]


def _inner(dataset: Any) -> Any:
    """The data set inside a wrapper that repeats it."""
    return getattr(dataset, 'dataset', dataset)


def _readers(dataset: Any) -> Iterator[Any]:
    """Yields what may read files: the data sets inside all wrappers, and all transforms."""
    yield dataset
    yield from getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    inner = getattr(dataset, 'dataset', None)
    for one in (*(() if inner is None else (inner,)), *(getattr(dataset, 'datasets', None) or ())):
        yield from _readers(one)


def _check_boxes(dataset: Any, split: str) -> list[str]:
    """Checks that some sample of a 3D training set has boxes; it is drawn from those alone."""
    learns = hasattr(dataset, 'load_type') and not getattr(dataset, 'test_mode', True)
    if not learns or not getattr(dataset, 'filter_empty_gt', False):
        return []
    if any(_num_boxes(dataset.get_data_info(i)) for i in range(len(dataset))):
        return []
    if dataset.load_type == 'mv_image_based':
        root = Path(getattr(dataset, 'data_root', None) or '')
        return [
            f'The {split} set has no boxes of single cameras (cam_instances in its info file), '
            'which this detector learns from; create the info file again by: '
            f'{create_infos_command(root)}'
        ]
    return [
        f'The {split} set has no boxes of its classes; check that its info file and its '
        'metainfo.classes belong together.'
    ]


def _num_boxes(info: dict) -> int:
    annotations = info.get('ann_info')
    if isinstance(annotations, dict) and 'gt_labels_3d' in annotations:
        return len(annotations['gt_labels_3d'])
    return len(info.get('instances') or ())


def _paths(info: dict) -> Iterator[str]:
    """Yields the local files that one sample reads; mmdet3d keeps those of its cameras apart."""
    cameras = info.get('images')
    for part in [info, *(cameras.values() if isinstance(cameras, dict) else ())]:
        for key in ('img_path', 'seg_map_path'):
            path = part.get(key)
            if isinstance(path, str) and '://' not in path:
                yield path
