"""Whether what a loaded data set lists is there: a sample of its images, all of its cameras."""

import os
from collections.abc import Iterator
from typing import Any

from sparse_mm.engine.checks.cameras import check_cameras
from sparse_mm.engine.hosts import is_remote


def check_samples(dataset: Any, split: str, num_images: int) -> list[str]:
    """Looks for a sample of a data set's files, and at all of its cameras.

    Args:
        dataset: The data set, loaded.
        split: Name for the messages.
        num_images: How many samples to look at, evenly spread over the data set.
    """
    if len(dataset) == 0:
        return [
            f'The {split} set has no image with annotations of its classes; check that its '
            'annotation file and its metainfo.classes belong together.'
        ]
    if not hasattr(dataset, 'get_data_info'):
        return []
    inner = getattr(dataset, 'dataset', dataset)
    transforms = getattr(getattr(inner, 'pipeline', None), 'transforms', ())
    if any(is_remote(reader) for reader in (inner, *transforms)):
        return []
    problems = check_cameras(inner, split)  # once, if repeated
    step = max(1, len(dataset) // num_images)
    paths = [p for i in range(0, len(dataset), step) for p in _paths(dataset.get_data_info(i))]
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        problems.append(
            f'The {split} set is incomplete: {len(missing)} of {len(paths)} files looked for are '
            f'missing, the first is {missing[0]!r}; copy or unpack the data set again.'
        )
    return problems


def _paths(info: dict) -> Iterator[str]:
    """Yields the local files that one sample reads; mmdet3d keeps those of its cameras apart."""
    cameras = info.get('images')
    for part in [info, *(cameras.values() if isinstance(cameras, dict) else ())]:
        for key in ('img_path', 'seg_map_path'):
            path = part.get(key)
            if isinstance(path, str) and '://' not in path:
                yield path
