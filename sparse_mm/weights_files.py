"""Weights in ``.safetensors`` files, which hold tensors and text and nothing that could execute.

Importing this lets MMEngine load them, too, wherever it takes a checkpoint: ``load_from``,
``init_detector``, ``tools/test.py``.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from sparse_mm.errors import SAVE_WEIGHTS, BadInputError, DamagedFileError
from sparse_mm.file_kinds import say_other_kind

SUFFIX = '.safetensors'
INSTALL = 'pip install safetensors'


def read_safetensors(path: str) -> dict[str, Any]:
    """Reads a file as a checkpoint: its weights and, if it has them, its ``meta``.

    Raises:
        DamagedFileError: The file is cut short, or no safetensors file.
        BadInputError: It is missing or cannot be opened, or the library is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise BadInputError(
            f'Reading {path!r} needs the package safetensors; {INSTALL}.'
        ) from error
    if not os.path.isfile(path):
        raise BadInputError(f'The checkpoint {path!r} does not exist.')
    try:
        with safe_open(path, framework='pt', device='cpu') as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get('meta', '{}')
    except (SafetensorError, ValueError) as error:
        if 'invalid shape, data type' in str(error):  # it is whole, and would come again the same
            raise BadInputError(
                f'{path!r} gives a tensor another number of bytes than its type and shape have; '
                f'{SAVE_WEIGHTS}.'
            ) from error
        other = say_other_kind(path)
        if other is not None:
            raise BadInputError(other) from error
        raise DamagedFileError(
            f'{path!r} is truncated or not a safetensors file ({error}); download or copy it again.'
        ) from error
    except OSError as error:
        raise BadInputError(
            f'The checkpoint {path!r} cannot be read ({error.strerror}); see to its rights and its '
            'disk.'
        ) from error
    return dict(state_dict=weights, meta=_read_meta(text))


def _read_meta(text: str) -> dict[str, Any]:
    """Reads what :func:`write_safetensors` wrote; other programs' metadata counts as none."""
    try:
        meta = json.loads(text)
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}


def write_safetensors(path: str, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes weights with a description.

    Args:
        path: The file.
        weights: By name; they may share memory and lie in any order.
        meta: What JSON can hold.

    Raises:
        BadInputError: The library is not installed.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise BadInputError(
            f'Writing {path!r} needs the package safetensors; {INSTALL}.'
        ) from error
    own = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    save_file(own, path, {'format': 'pt', 'meta': json.dumps(meta)})


@CheckpointLoader.register_scheme(prefixes=r'(?!\w+://).*\.safetensors$')
def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, Any]:
    """MMEngine's loader of local ``.safetensors`` files."""
    checkpoint = read_safetensors(filename)
    if map_location not in (None, 'cpu') and not callable(map_location):
        state = checkpoint['state_dict']
        checkpoint['state_dict'] = {name: value.to(map_location) for name, value in state.items()}
    return checkpoint
