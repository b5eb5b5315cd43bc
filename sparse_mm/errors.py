"""Exceptions for mistakes that a user can correct."""

from collections.abc import Iterable
from difflib import get_close_matches

SAVE_WEIGHTS = (
    'save its weights alone, torch.save(model.state_dict(), ...), with the code that made it'
)


class BadInputError(ValueError):
    """A setting, a file or a machine does not fit.

    The message says what is wrong and what to do, in one sentence; ``tools/*.py`` print only the
    message, without a traceback.
    """


class DamagedFileError(BadInputError):
    """A file is cut short or broken, as a kill or a full disk leaves it."""


class UnsafeContentError(BadInputError):
    """A file is whole, and holds something that is not safe to load.

    Args:
        what: The thing, in words: ``'the class package.module.Name'``.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f'The checkpoint holds {what}, which is not safe to load; {SAVE_WEIGHTS}.')
        self.what = what


def nearest(name: str, known: Iterable[str]) -> str:
    """Ends a sentence about an unknown name: ``"; did you mean 'SparseViT'?"``, or nothing."""
    by_lower_case = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), by_lower_case, n=1)
    return f'; did you mean {by_lower_case[found[0]]!r}?' if found else ''
