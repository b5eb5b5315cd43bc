"""Checks of the kinds of the search's settings, each with a clear message."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

from sparse_mm.errors import BadInputError


def check_number(name: str, given: Any, least: int, optional: bool = False) -> None:
    """Checks a whole number.

    Args:
        name: Of the setting.
        given: Its value.
        least: The smallest that is allowed.
        optional: Whether it may be None, for the default or for all.

    Raises:
        BadInputError: It is none, or too small.
    """
    fits = isinstance(given, int) and not isinstance(given, bool) and given >= least
    if not fits and not (optional and given is None):
        raise BadInputError(
            f'{name} must be at least {least}, a whole number, not {given!r} (of the search).'
        )


def check_numbers(name: str, given: Any, pairs: bool = False) -> None:
    """Checks a list of numbers.

    Args:
        name: Of the setting.
        given: Its value.
        pairs: Whether a pair, smallest and largest, may stand for a number.

    Raises:
        BadInputError: It is none.
    """
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    if listed and all(_is_number(one) or (pairs and _is_pair(one)) for one in given):
        return
    or_pairs = ' or of pairs of them' if pairs else ''
    raise BadInputError(f'{name} must be a list of numbers{or_pairs}, not {given!r}.')


def check_sides(name: str, given: Any) -> None:
    """Checks a size of images.

    Raises:
        BadInputError: It is no pair of whole numbers of at least 1.
    """
    listed = isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2
    if not listed or not all(isinstance(side, int) and side >= 1 for side in given):
        raise BadInputError(f'{name} must be (H, W) in pixels, not {given!r}.')


def _is_number(given: Any) -> bool:
    return isinstance(given, Real) and not isinstance(given, bool)


def _is_pair(given: Any) -> bool:
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    return listed and len(given) == 2 and all(_is_number(one) for one in given)
