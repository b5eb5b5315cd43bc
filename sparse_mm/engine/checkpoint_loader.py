"""How MMEngine reads checkpoints under our tools: safely, whichever MMEngine it is."""

import os
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader

from sparse_mm.safe_classes import declare_safe_classes


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """MMEngine's loader of local files, by torch's safe unpickler and our list of classes.

    Raises:
        FileNotFoundError: There is no such file.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'{filename} can not be found.')
    return torch.load(filename, map_location=map_location, weights_only=True)


def read_checkpoints_safely() -> None:
    """Lets MMEngine read checkpoints with ``weights_only=True`` alone, from here on.

    MMEngine itself leaves that to torch's default, which was another before version 2.6. Its fork
    tries a list of its own, and reads what that does not cover without any safety; torch's own
    switch in the environment keeps it from doing so, for remote files, too.
    """
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)  # torch refuses both
    declare_safe_classes()
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
