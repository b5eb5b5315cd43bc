"""Reading checkpoints: safely, and with one clear sentence where that cannot be done.

torch unpickles with ``weights_only=True``: only tensors, plain containers and classes that were
declared safe. What MMEngine itself puts into a checkpoint is declared here, so that ``--resume``
works; nothing else is.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from sparse_mm.errors import BadInputError


def _history_statistic(owner: type, name: str) -> Any:
    """Stands in for ``getattr``, by which MMEngine pickles its history buffers' methods."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'{owner!r}.{name} is not part of an MMEngine checkpoint.')
    return getattr(HistoryBuffer, name)


def declare_safe_classes() -> None:
    """Lets ``torch.load(weights_only=True)`` read the log history in MMEngine's checkpoints."""
    rebuild_array = np.zeros(1).__reduce__()[0]
    rebuild_scalar = np.float64(0).__reduce__()[0]
    named: list[tuple[Any, str]] = [
        (_history_statistic, f'{module}.getattr') for module in ('builtins', '__builtin__')
    ]
    for core in ('core', '_core'):  # numpy 1 and numpy 2
        named.append((rebuild_array, f'numpy.{core}.multiarray._reconstruct'))
        named.append((rebuild_scalar, f'numpy.{core}.multiarray.scalar'))
    dtypes = [type(np.dtype(name)) for name in ('float64', 'float32', 'int64')]
    torch.serialization.add_safe_globals([HistoryBuffer, np.ndarray, np.dtype, *dtypes, *named])


def read_checkpoint(path: str) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Args:
        path: A file, or an address that MMEngine's loaders know (``https://``, ``open-mmlab://``,
            …).

    Returns:
        The checkpoint's dictionary.

    Raises:
        BadInputError: The file is missing, truncated, not a checkpoint, or holds objects that are
            not safe to load.
    """
    remote = '://' in path
    if not remote and not Path(path).is_file():
        raise BadInputError(f'The checkpoint {path!r} does not exist.')
    try:
        if remote:
            checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        else:
            # Mapped, not read: a look at the names and shapes of a large checkpoint costs nothing.
            checkpoint = torch.load(
                path, map_location='cpu', weights_only=True, mmap=is_zipfile(path)
            )
    except Exception as error:  # torch raises half a dozen kinds for files that are no checkpoints
        unsafe = re.search(r'GLOBAL (\S+)', str(error))
        if unsafe:
            raise BadInputError(
                f'The checkpoint {path!r} holds {unsafe[1]}, which is not safe to load; save its '
                'weights alone, torch.save(model.state_dict(), ...), with the code that made it.'
            ) from error
        if remote:
            raise BadInputError(
                f'The checkpoint {path!r} cannot be downloaded ({error}); download it '
                'elsewhere and name the file.'
            ) from error
        raise BadInputError(
            f'{path!r} is truncated or not a PyTorch checkpoint; download or copy it again.'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise BadInputError(
            f'{path!r} holds a {type(checkpoint).__name__}, not a checkpoint with named weights.'
        )
    return dict(checkpoint)


def latest_checkpoint(work_dir: str) -> str | None:
    """Finds where a killed run can go on, whatever it was writing at that moment.

    MMEngine goes by the file ``last_checkpoint``, which a kill can leave unwritten, empty, or
    naming a checkpoint that was just removed; then the newest that can be read is taken.

    Args:
        work_dir: The run's work directory.

    Returns:
        The checkpoint; None where there is none to go on from.
    """
    folder = Path(work_dir)
    last = folder / 'last_checkpoint'
    named = [Path(last.read_text().strip())] if last.is_file() else []
    numbered = [
        path for path in folder.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+', path.stem)
    ]
    numbered.sort(key=lambda path: -int(path.stem.split('_')[1]))
    for path in [*named, *numbered]:
        try:
            read_checkpoint(str(path))
        except BadInputError:
            continue
        return str(path)
    return None


def weights_of(checkpoint: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    """Finds the named weights in a checkpoint.

    Checkpoints of MMEngine, of the original Swin, and ``state_dict()`` alone are understood.

    Raises:
        BadInputError: There are none.
    """
    state = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    if isinstance(state, Mapping):
        weights = {
            name.removeprefix('module.'): value
            for name, value in state.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
        if weights:
            return weights
    raise BadInputError(f'{path!r} holds no named weights: it is no checkpoint of a model.')


def mismatches(weights: Mapping[str, Tensor], model_state: Mapping[str, Tensor]) -> list[str]:
    """Names the weights of other shapes than the model's: ``name (2, 3) instead of (4, 3)``."""
    return [
        f'{name} {tuple(value.shape)} instead of {tuple(model_state[name].shape)}'
        for name, value in weights.items()
        if name in model_state and value.shape != model_state[name].shape
    ]


def first_few(names: list[str], count: int = 3) -> str:
    """Joins the first few names, and counts the rest."""
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more
