"""Several processes that act as one: rank 0 does it and tells the others; they fail together.

A process that fails alone leaves the others waiting for it in their next exchange. So whatever can
fail between two exchanges is done here, and what went wrong travels with the results.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, is_main_process

from sparse_mm.errors import BadInputError

T = TypeVar('T')


def on_main_process(work: Callable[[], T]) -> T:
    """Does something on rank 0 alone and gives every rank its result.

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
    """Does something on each rank and gives every rank all results, in the ranks' order.

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
