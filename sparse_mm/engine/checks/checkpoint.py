"""Whether a checkpoint can be read, and belongs to the model."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn

from sparse_mm.checkpoints import first_few, mismatches, read_checkpoint, weights_of
from sparse_mm.engine.inspection import backbone_name
from sparse_mm.errors import BadInputError


def check_checkpoint_file(path: str) -> list[str]:
    """Checks, before any model is built, that a file can be read and holds weights.

    Args:
        path: The checkpoint; one that must be downloaded is left to :func:`check_checkpoint`.
    """
    if '://' in path:
        return []
    try:
        weights_of(read_checkpoint(path), path)
    except BadInputError as error:
        return [str(error)]
    return []


def check_checkpoint(path: str, model: nn.Module, whole: bool) -> list[str]:
    """Checks that a checkpoint belongs to a model, before anything is loaded.

    Args:
        path: The checkpoint.
        model: The model, built; for distributed training, in its wrapper.
        whole: Whether every weight must be there and fit, as for testing and resuming; otherwise
            (fine-tuning) only the backbone's must fit, since other heads are replaced.

    Returns:
        What is wrong with it: it cannot be read, or it belongs to another model.
    """
    try:
        weights = weights_of(read_checkpoint(path), path)
    except BadInputError as error:
        return [str(error)]
    bare: Any = model.module if is_model_wrapper(model) else model
    own = bare.state_dict()
    wrong = mismatches(weights, own)
    if not whole:
        prefix = backbone_name(bare)
        wrong = [name for name in wrong if name.startswith(prefix)]
    if wrong:
        return [
            f'The checkpoint {path!r} is of another model, its shapes differ: {first_few(wrong)}.'
        ]
    # By the names of state_dict: a DeployedBackbone's weights have those of its backbone there.
    state = bare.state_dict(keep_vars=True)
    needed = [name for name, value in state.items() if isinstance(value, nn.Parameter)]
    missing = [name for name in needed if name not in weights]
    if len(missing) == len(needed) or (whole and missing):
        return [
            f'The checkpoint {path!r} is of another model: it lacks {first_few(missing)} (and has '
            f'{first_few([name for name in weights if name not in own]) or "nothing else"}).'
        ]
    return []
