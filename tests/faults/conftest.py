"""One process that has imported everything, for all toy runs of a test session."""

from collections.abc import Iterator

import pytest

from tests.faults.runs import Forks


@pytest.fixture(scope='session')
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()
