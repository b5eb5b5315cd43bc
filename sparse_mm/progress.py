"""Progress bars for terminals and for log files."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


def progress_bar(
    desc: str, items: Iterable | None = None, total: int | None = None, quiet: bool = False
) -> Any:
    """Makes a ``tqdm`` bar: on a terminal it moves, in a log file it has few lines.

    Args:
        desc: What goes on.
        items: What to go through, if the bar shall count by itself.
        total: How many there are, if ``items`` does not say.
        quiet: Whether to show nothing.
    """
    from tqdm import tqdm  # imported on use: `import sparse_mm` shall be quick

    interval = 0.2 if sys.stderr.isatty() else 10  # seconds
    return tqdm(items, desc=desc, total=total, mininterval=interval, disable=quiet)


@contextmanager
def counting_bar(desc: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for what counts by itself.

    Args:
        desc: What goes on.

    Yields:
        What to call with how much is done and how much there will be, which may change.
    """
    with progress_bar(desc) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
