"""Checks that annotations have the format that the host packages read.

The hosts would fail with a traceback after minutes, or train on no data.
"""

import pickletools
from io import BytesIO
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path

from sparse_mm.engine.hosts import (
    INFO_KEYS,
    OLD_INFO_KEYS,
    LabelMaps,
    create_infos_command,
    label_maps_command,
    update_infos_command,
)

BEGINNING = 65536  # bytes of a pickle that are read


def is_cut_json(path: Path) -> bool:
    """Whether a JSON file ends before its last bracket; only its end is read."""
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read().strip()[-1:] not in (b'}', b']')


def check_label_maps(folder: Path, root: Path, name: str, maps: LabelMaps) -> list[str]:
    """Checks that annotations were converted to the ids that models are trained with.

    Args:
        folder: The annotations of one split: ``gtFine/train``.
        root: The folder of the data set, which holds ``gtFine``.
        name: Of the data set.
        maps: What must be there.
    """
    annotated = {
        str(path)[: -len(suffix)] for suffix in maps.sources for path in folder.rglob(f'*{suffix}')
    }
    missing = sorted(stem for stem in annotated if not Path(stem + maps.suffix).exists())
    if not missing:
        return []
    return [
        f'{name} is not converted: {len(missing)} of {len(annotated)} annotations in '
        f'{str(folder)!r} have no label map with training ids, the first that is missing is '
        f'{missing[0] + maps.suffix!r}. Make them by: {label_maps_command(root)}'
    ]


def check_info_file(path: Path, root: Path) -> list[str]:
    """Checks that an info file is complete and of mmdet3d's format since 1.0.

    The file is not unpickled. Only its keys are searched, so nothing in it is executed and large
    files take no time.

    Args:
        path: The info file.
        root: The folder of the data set.
    """
    key = _first_key(path) if _ends_like_a_pickle(path) else None
    if key in INFO_KEYS or (key is not None and _names(path, *INFO_KEYS)):
        return []  # a key of the user's own may be the first
    if key in OLD_INFO_KEYS or (key is not None and _names(path, *OLD_INFO_KEYS[:2])):
        return [
            f'The info file {str(path)!r} was made by mmdet3d before 1.0 (it begins with {key}, '
            f'and has not {" and ".join(map(repr, INFO_KEYS))}), whose boxes mean something else. '
            f'Create it again by: {create_infos_command(root)}; or convert it, where the data set '
            f'lies in data/nuscenes, by: {update_infos_command(path)}'
        ]
    return [
        f'The info file {str(path)!r} is truncated or not one of mmdet3d. Create it again by: '
        f'{create_infos_command(root)}'
    ]


def _names(path: Path, *keys: str) -> bool:
    """Whether all of these keys stand somewhere in a pickle."""
    with path.open('rb') as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return all(content.find(key.encode()) >= 0 for key in keys)


def _first_key(path: Path) -> str | None:
    """The first key of a pickled dictionary, ``'a list'`` for a list, None for all else."""
    try:
        with path.open('rb') as file:
            beginning = BytesIO(file.read(BEGINNING))  # whatever lengths a hostile file claims
        # The key comes right after the few operations that open the dictionary.
        for operation, argument, _ in islice(pickletools.genops(beginning), 10):
            if operation.name in ('EMPTY_LIST', 'LIST'):
                return 'a list'
            if isinstance(argument, str) and operation.name.endswith(('UNICODE', 'STRING')):
                return argument
    except (ValueError, OverflowError):  # it is no pickle
        pass
    return None


def _ends_like_a_pickle(path: Path) -> bool:
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read() == b'.'
