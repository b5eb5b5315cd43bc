"""Safe loading of checkpoints by MMEngine, for any key of the weights."""

import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.errors import BadInputError
from sparse_mm.file_kinds import INDEX
from sparse_mm.named_weights import weights_of
from sparse_mm.safe_classes import declare_safe_classes


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """MMEngine's loader of local files, by torch's safe unpickler and our list of classes.

    Raises:
        FileNotFoundError: There is no such file.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'{filename} can not be found.')
    if filename.endswith(INDEX):
        return read_checkpoint(filename)
    checkpoint = torch.load(filename, map_location=map_location, weights_only=True)
    if not isinstance(checkpoint, Mapping) or found_by_mmengine(checkpoint, filename):
        return checkpoint
    # MMEngine would take the outermost names for the weights', load none of them, and say so alone.
    return {**checkpoint, 'state_dict': weights_of(checkpoint, filename)}


def found_by_mmengine(checkpoint: Mapping[str, Any], path: str) -> bool:
    """Whether MMEngine itself finds the weights of a checkpoint; also where it has none."""
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, Mapping):
        return True
    try:
        ours = weights_of(checkpoint, path)
    except BadInputError:
        return True
    return ours.keys() <= {re.sub(r'^module\.', '', str(name)) for name in state}


def read_checkpoints_safely() -> None:
    """Makes MMEngine read all checkpoints with ``weights_only=True``.

    MMEngine itself leaves that to torch's default, which was another before version 2.6. Its fork
    tries a list of its own, and reads what that does not cover without any safety; torch's own
    switch in the environment keeps it from doing so, for remote files, too.
    """
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)  # torch refuses both
    declare_safe_classes()
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
