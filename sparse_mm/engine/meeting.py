"""A separate rendezvous for the processes of each start of ``torchrun``.

``torchrun --max-restarts`` keeps one store for all of its starts, and torch writes the addresses of
each start under the same keys: a process that is early reads the address of a dead one, and waits
for it until the timeout (https://github.com/pytorch/pytorch/issues/135712). torch's number of the
start is counted by each machine separately, so it does not identify the start. Here rank 0 draws a
name for the start, and the other ranks accept only a name whose rank 0 responds.
"""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from torch.distributed import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from sparse_mm.errors import BadInputError

# Key under which rank 0 publishes its latest name.
NAME = 'sparse_mm/start'
PAUSE = 0.02  # seconds between two reads of the store


def place_of_this_start(seconds: float) -> dict[str, Any]:
    """Finds the others of this start, where ``torchrun`` keeps the store.

    Args:
        seconds: How long they are waited for.

    Returns:
        What ``init_process_group`` is to be given; nothing where the launcher has no such store.

    Raises:
        BadInputError: They have not come.
    """
    if os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True':
        return {}
    store, rank, size = next(rendezvous('env://', timeout=timedelta(seconds=seconds)))
    name = agree_on_name(store, rank, size, seconds)
    return dict(store=PrefixStore(f'{name}/default_pg', store), rank=rank, world_size=size)


def agree_on_name(store: Store, rank: int, size: int, seconds: float) -> str:
    """Gives the processes of one start a name that none before had.

    Each other rank writes a random word under the name that it finds, and rank 0 repeats the words
    under the name that it drew. The rank 0 of an earlier start is dead and repeats nothing, so a
    rank without a response reads the name again.

    Args:
        store: That all of them reach, with whatever earlier starts left in it.
        rank: Of this process.
        size: How many there are.
        seconds: How long one waits for another.

    Raises:
        BadInputError: One has not come.
    """
    own = uuid4().hex
    if rank == 0:
        store.set(NAME, own)
        for other in range(1, size):
            word = f'{own}/{other}'
            _look_until(partial(store.check, [word]), seconds, f'Rank {other}')
            store.set(f'{word}/heard', store.get(word).decode())
        return own
    name = ''

    def answered() -> bool:
        nonlocal name
        if not store.check([NAME]):
            return False
        told = store.get(NAME).decode()
        if told != name:
            name = told
            store.set(f'{name}/{rank}', own)
        heard = f'{name}/{rank}/heard'
        return store.check([heard]) and store.get(heard).decode() == own

    _look_until(answered, seconds, 'Rank 0')
    return name


def _look_until(found: Callable[[], bool], seconds: float, who: str) -> None:
    # Not by the store's own waiting: no signal gets through that, and torchrun's is to end this.
    deadline = time.monotonic() + seconds
    while not found():
        if time.monotonic() > deadline:
            raise BadInputError(
                f'{who} has not come within {seconds:.0f} seconds; its own message says why.'
            )
        time.sleep(PAUSE)
