"""Annotations that are there, but not in the form that the host packages read.

Left to the hosts, they fail with a traceback after minutes of building, or train on nothing.
"""

import pickletools
import sys
from itertools import islice
from pathlib import Path

from mmengine.utils import get_installed_path

from sparse_mm.errors import BadInputError

LABEL_MAP = '_gtFine_labelTrainIds.png'


def check_label_maps(folder: Path, root: Path) -> None:
    """Checks that Cityscapes' annotations were converted to the ids that models are trained with.

    Args:
        folder: The annotations of one split: ``gtFine/train``.
        root: The folder of the data set, which holds ``gtFine``.

    Raises:
        BadInputError: An annotated image has no label map.
    """
    annotated = {
        str(path)[: -len(suffix)]
        for suffix in ('_gtFine_polygons.json', '_gtFine_labelIds.png')
        for path in folder.rglob(f'*{suffix}')
    }
    missing = sorted(stem for stem in annotated if not Path(stem + LABEL_MAP).exists())
    if missing:
        raise BadInputError(
            f'Cityscapes is not converted: {len(missing)} of {len(annotated)} annotations in '
            f'{str(folder)!r} have no label map with training ids, the first that is missing is '
            f'{missing[0] + LABEL_MAP!r}. Make them by: pip install cityscapesscripts && '
            f'CITYSCAPES_DATASET={root} csCreateTrainIdLabelImgs'
        )


def check_nuscenes_infos(path: Path, root: Path) -> None:
    """Checks that an info file is complete and of mmdet3d's format since 1.0.

    The file is not unpickled, only its first key is read, so that nothing in it is run and a
    large one takes no time.

    Args:
        path: The info file.
        root: The folder of the data set.

    Raises:
        BadInputError: It is truncated, of an older format, or something else.
    """
    key = _first_key(path) if _ends_like_a_pickle(path) else None
    if key in ('infos', 'metadata', 'a list'):
        convert = host_tool('mmdet3d', 'dataset_converters/update_infos_to_v2.py')
        raise BadInputError(
            f'The info file {str(path)!r} was made by mmdet3d before 1.0 (it begins with {key}, '
            "not with 'metainfo' or 'data_list'), whose boxes mean something else. Make it anew "
            f'by: {create_infos(root)}; or convert it, where the data set lies in data/nuscenes, '
            f'by: {convert} --dataset nuscenes --pkl-path {path} --out-dir FOLDER'
        )
    if key not in ('metainfo', 'data_list'):
        raise BadInputError(
            f'The info file {str(path)!r} is truncated or none of mmdet3d. Make it anew by: '
            f'{create_infos(root)}'
        )


def create_infos(root: Path) -> str:
    """The command that makes nuScenes' info files from the devkit's tables in ``root``."""
    command = host_tool('mmdet3d', 'create_data.py')
    return f'{command} nuscenes --root-path {root} --out-dir {root} --extra-tag nuscenes'


def host_tool(package: str, tool: str) -> str:
    """The command that runs a tool which a host package brings along when pip installs it.

    Args:
        package: ``'mmdet3d'``.
        tool: Path of the tool below the package's ``tools/``.
    """
    folder = Path(get_installed_path(package), '.mim')
    # Its tools import each other as tools.….
    return f'PYTHONPATH={folder} {sys.executable} {folder / "tools" / tool}'


def _first_key(path: Path) -> str | None:
    """The first key of a pickled dictionary, ``'a list'`` for a list, None for all else."""
    try:
        with path.open('rb') as file:
            # The key comes right after the few operations that open the dictionary.
            for operation, argument, _ in islice(pickletools.genops(file), 10):
                if operation.name in ('EMPTY_LIST', 'LIST'):
                    return 'a list'
                if isinstance(argument, str) and operation.name.endswith(('UNICODE', 'STRING')):
                    return argument
    except ValueError:  # it is no pickle
        pass
    return None


def _ends_like_a_pickle(path: Path) -> bool:
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read() == b'.'
