"""All problems of a run in one error."""

from collections.abc import Iterable

from sparse_mm.errors import BadInputError


def report(problems: Iterable[str]) -> None:
    """Refuses a run that has problems.

    Args:
        problems: What the checks found, a sentence each; the same one is said once.

    Raises:
        BadInputError: There are any. One is the message itself; several have a line each.
    """
    found = list(dict.fromkeys(problems))
    if len(found) == 1:
        raise BadInputError(found[0])
    if found:
        lines = '\n'.join(f'- {problem}' for problem in found)
        raise BadInputError(f'{len(found)} things keep this run from starting:\n{lines}')
