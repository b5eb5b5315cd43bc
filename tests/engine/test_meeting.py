"""Processes that ``torchrun`` restarts connect to each other, not to those of the start before."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore

from sparse_mm.engine.meeting import NAME, agree_on_name, place_of_this_start
from sparse_mm.errors import BadInputError


def start(store, size, late=()):
    """All processes of one start; late ones begin after the others have looked for a port."""

    def join(rank):
        time.sleep(0.2 * (rank in late))
        return agree_on_name(store, rank, size, 10)

    with ThreadPoolExecutor(size) as pool:
        return set(pool.map(join, range(size)))


@pytest.mark.parametrize('late', [(), (0,), (1, 2), (2,)])
def test_each_start_has_a_name_of_its_own(late):
    store = HashStore()
    names = [start(store, 3, late) for _ in range(3)]
    assert all(len(each) == 1 for each in names)
    assert len(set.union(*names)) == 3


def test_a_start_that_ended_while_it_met_is_not_taken_up():
    store = HashStore()
    # Rank 0 had answered rank 1 and waited for rank 2.
    store.set(NAME, 'before')
    store.set('before/1', 'word')
    store.set('before/1/heard', 'word')
    (name,) = start(store, 3, late=(0,))
    assert name != 'before'


@pytest.mark.parametrize(('rank', 'missing'), [(0, 'Rank 1'), (1, 'Rank 0')])
def test_one_that_does_not_come_is_not_waited_for_without_end(rank, missing):
    with pytest.raises(BadInputError, match=f'{missing} has not come within 0 seconds'):
        agree_on_name(HashStore(), rank, 2, 0.1)


def test_other_launchers_meet_as_they_do(monkeypatch):
    monkeypatch.delenv('TORCHELASTIC_USE_AGENT_STORE', raising=False)
    assert place_of_this_start(1) == {}
