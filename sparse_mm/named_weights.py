"""Finds the named weights in a checkpoint, and checks that they fit a model."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from sparse_mm.errors import BadInputError

# Keys of the weights in checkpoints; the first one that exists is used.
HOLDERS = (
    *('state_dict', 'model', 'model_state_dict', 'module', 'net', 'network', 'weights', 'params'),
    *('model_ema', 'state_dict_ema', 'ema_state_dict', 'ema', 'params_ema'),
)
# Keys with tensors that are not weights.
NO_HOLDERS = frozenset(
    {*('optimizer', 'optimizer_state_dict', 'optimizer_states', 'lr_scheduler', 'scheduler')}
    | {*('scaler', 'meta', 'message_hub', 'param_schedulers', 'callbacks', 'loops')}
)
WRAPPERS = 'module.', '_orig_mod.'


def weights_of(checkpoint: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    """Finds the named weights in a checkpoint.

    They may be the checkpoint itself, or be under a key: MMEngine's ``state_dict``, the original
    Swin's ``model``, others that :data:`HOLDERS` lists, or a single one of any name. What wrappers
    put before all names (``module.``, torch.compile's ``_orig_mod.``) is taken off.

    Raises:
        BadInputError: There are none, or those of several models.
    """
    weights = _find_weights(checkpoint, path)
    if not weights:
        raise BadInputError(f'{path!r} holds no named weights: it is no checkpoint of a model.')
    return {without_wrappers(name): value for name, value in weights.items()}


def _find_weights(checkpoint: Mapping[str, Any], path: str, depth: int = 3) -> dict[str, Tensor]:
    inner = {key: value for key, value in checkpoint.items() if isinstance(value, Mapping)}
    for name in HOLDERS:
        weights = _find_weights(inner[name], path, depth - 1) if name in inner and depth else {}
        if weights:
            return weights
    own = {
        name: value
        for name, value in checkpoint.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if own or not depth:
        return own
    others = {
        str(name): _find_weights(value, path, depth - 1)
        for name, value in inner.items()
        if name not in NO_HOLDERS
    }
    found = {name: weights for name, weights in others.items() if weights}
    if len(found) > 1:
        raise BadInputError(
            f'{path!r} holds the weights of several models, {", ".join(map(repr, found))}; save '
            'those that are meant alone.'
        )
    return next(iter(found.values()), {})


def without_wrappers(name: str) -> str:
    """The name of a weight without what wrappers of the whole model put before it."""
    while name.startswith(WRAPPERS):
        name = name.partition('.')[2]
    return name


def part_of(weights: Mapping[str, Tensor], part: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Takes a part's weights, such as a backbone's, out of a whole model's, by their names.

    Args:
        weights: Of the model.
        part: ``state_dict()`` of the part.

    Returns:
        The weights under the prefix that has most of the part's names, by those; all of them where
        none has any.

    Raises:
        BadInputError: Several parts have these names.
    """
    counts: Counter[str] = Counter()
    for name, value in weights.items():
        for place in (0, *(match.end() for match in re.finditer(r'\.', name))):
            if name[place:] in part:  # of parts with the same names, the one with the same shapes
                counts[name[:place]] += 2 if value.shape == part[name[place:]].shape else 1
    (most, number), *others = counts.most_common(2) or [('', 0)]
    if others and others[0][1] == number:
        raise BadInputError(
            f'the file contains the weights of this module twice, as {most + "…"!r} and '
            f'{others[0][0] + "…"!r}; keep those that are meant'
        )
    return {
        name.removeprefix(most): value for name, value in weights.items() if name.startswith(most)
    }


def mismatches(weights: Mapping[str, Tensor], model_state: Mapping[str, Tensor]) -> list[str]:
    """Names the weights of other shapes than the model's: ``name (2, 3) instead of (4, 3)``."""
    return [
        f'{name} {tuple(value.shape)} instead of {tuple(model_state[name].shape)}'
        for name, value in weights.items()
        if name in model_state and value.shape != model_state[name].shape
    ]


def not_finite(weights: Mapping[str, Tensor], names: Iterable[str]) -> list[str]:
    """Which of some weights hold NaN or infinity, as a run that diverged saves them."""
    return [
        name
        for name in names
        if name in weights
        and weights[name].is_floating_point()
        and not weights[name].isfinite().all()
    ]


def first_few(names: list[str], count: int = 3) -> str:
    """Joins the first few names, and counts the rest."""
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more
