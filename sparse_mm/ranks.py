"""Several processes that act as one: rank 0 shares its results, and all fail together.

A process that fails alone leaves the others waiting for it in their next exchange. So code that can
fail between two exchanges is run here, and errors are sent with the results.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, is_main_process

from sparse_mm.errors import BadInputError

T = TypeVar('T')


def on_main_process(work: Callable[[], T]) -> T:
    """Runs a function on rank 0 and returns its result on every rank.

    Raises:
        BadInputError: It failed on rank 0, which raises its own exception.
    """
    outcome: list[Any] = [None, None]
    error = None
    if is_main_process():
        outcome[0], error = _attempt(work)
        outcome[1] = _describe(error)
    broadcast_object_list(outcome)
    _raise_first(error, [outcome[1]])
    return outcome[0]


def on_every_process(work: Callable[[], T]) -> list[T]:
    """Runs a function on each rank and returns all results, in the order of the ranks.

    Raises:
        BadInputError: It failed on another rank, whose message it has. A rank that fails itself
            raises its own exception.
    """
    result, error = _attempt(work)
    outcomes = all_gather_object((result, _describe(error)))
    _raise_first(error, [failure for _, failure in outcomes])
    return [result for result, _ in outcomes]


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # whatever it is, the others must hear of it
        return None, error


def _describe(error: Exception | None) -> str | None:
    if error is None:
        return None
    if isinstance(error, BadInputError):
        return str(error)
    return f'Process {get_rank()} failed with {type(error).__name__}: {error}'


def _raise_first(own: Exception | None, failures: list[str | None]) -> None:
    if own is not None:
        raise own
    told = [failure for failure in failures if failure is not None]
    if told:
        raise BadInputError(told[0])
