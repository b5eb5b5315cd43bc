"""Checks of a backbone's arguments, each with a clear error message."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from sparse_mm.errors import BadInputError, nearest
from sparse_mm.models.backbones.swin_names import INSIDE_ARCH, V2_ONLY


def check_names(cls: type, arguments: Mapping[str, Any]) -> None:
    """Refuses unknown arguments of a class.

    Raises:
        BadInputError: There is one; the message names the most similar known argument.
    """
    known = list(inspect.signature(vars(cls)['__init__']).parameters)[1:]
    for name in arguments:
        if name not in known:
            raise BadInputError(
                f'{cls.__name__} has no argument {name!r}{nearest(name, known) or "."}'
                f'{_of_the_other_host(cls, name)}'
            )


def _of_the_other_host(cls: type, name: str) -> str:
    if cls.__name__ == 'MMPretrainSparseViT' and name in INSIDE_ARCH:
        return (
            ' With arch= and the other names of mmpretrain, give '
            'arch=dict(embed_dims=…, depths=…, num_heads=…).'
        )
    if name == V2_ONLY:
        return " It is one of Swin V2: use type='SparseViTV2'."
    return ''


def check_heads(channels: Sequence[int], num_heads: Sequence[int]) -> None:
    """Checks that each stage's heads divide its channels.

    Raises:
        BadInputError: They do not.
    """
    for i, (width, heads) in enumerate(zip(channels, num_heads, strict=True)):
        if not isinstance(heads, int) or heads < 1 or width % heads:
            raise BadInputError(
                f'{width} channels cannot be shared out evenly to {heads!r} heads (stage {i}); '
                f'change num_heads={tuple(num_heads)} or the width.'
            )


def image_sides(name: str, size: Any) -> tuple[int, int]:
    """Reads an image size, one number or two.

    Args:
        name: Of the argument.
        size: Its value.

    Raises:
        BadInputError: It is neither.
    """
    sides = (size, size) if isinstance(size, int) else size
    fits = isinstance(sides, list | tuple) and len(sides) == 2
    if not fits or not all(isinstance(side, int) and side > 0 for side in sides):
        raise BadInputError(f'{name} must be one number of pixels or (H, W), not {size!r}.')
    return sides[0], sides[1]


def check_whole(least: int, **given: Any) -> None:
    """Checks whole numbers, and lists of them.

    Args:
        least: The smallest valid value.
        **given: Values, under the arguments' names.

    Raises:
        BadInputError: One is none, or smaller.
    """
    for name, value in given.items():
        listed = list(value) if isinstance(value, list | tuple) else [value]
        if not all(type(one) is int and one >= least for one in listed):
            are = 'must be whole numbers' if isinstance(value, list | tuple) else 'must be a number'
            raise BadInputError(f'{name} {are} of at least {least}, not {value!r}.')


def check_lists(**given: Any) -> None:
    """Checks that arguments are non-empty lists.

    Raises:
        BadInputError: One is none.
    """
    for name, value in given.items():
        if not isinstance(value, list | tuple) or not value:
            raise BadInputError(f'{name} must be a list with an entry for each, not {value!r}.')


def check_rates(**given: Any) -> None:
    """Checks dropout rates.

    Raises:
        BadInputError: One is not in [0, 1].
    """
    for name, value in given.items():
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise BadInputError(f'{name} must be from 0 to 1, not {value!r}.')
