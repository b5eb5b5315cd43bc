"""Processes of one run end in order, whatever their threads do."""

import signal

import pytest

from tests.faults.runs import Run

# What each process does; a group that a data-parallel model refers to outlives its destruction.
SCRIPT = '''
import atexit, os, sys, threading, time
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from sparse_mm.engine.command_line import run
from sparse_mm.errors import BadInputError
from sparse_mm.ranks import on_every_process

how = sys.argv[1]
atexit.register(lambda: print('atexit', flush=True))

class Late:
    """Takes its time while the interpreter is taken apart."""

    def __del__(self):
        time.sleep(3)

def main():
    dist.init_process_group('gloo')
    rank = dist.get_rank()
    group = dist.new_group()
    model = DistributedDataParallel(torch.nn.Linear(2, 2), process_group=group)
    model.itself = model
    if how == 'busy':  # one of the group's threads, until after the end of all that is to be done
        work = dist.all_reduce(torch.zeros(8), group=group, async_op=True)
        work.get_future().then(lambda found: time.sleep(2))
        torch.late = Late()
    threading.Thread(target=lambda: (time.sleep(0.2), print('thread', flush=True))).start()
    if how == 'bad input' and rank == 1:
        raise BadInputError('Rank 1 cannot go on.')
    if how == 'error' and rank == 1:
        raise ZeroDivisionError('of rank 1')
    if how == 'told' and rank == 1:
        on_every_process(lambda: 1 / 0)
    if how == 'told':
        on_every_process(lambda: 1)
    if how == 'killed' and rank == 1:
        os.kill(os.getpid(), 9)
    if how == 'exit' and rank == 1:
        sys.exit(7)
    dist.barrier()
    print('done')

run(main)
'''


def run_two(forks, folder, how):
    (folder / 'script.py').write_text(SCRIPT)
    run = Run(forks, folder, 'script.py', how, ranks=2)
    return run, run.wait(60)  # an exchange waits for half an hour


@pytest.mark.parametrize('how', ['well', 'busy'])
def test_they_end_together_and_whole(forks, tmp_path, how):
    run, codes = run_two(forks, tmp_path, how)
    assert codes == [0, 0], run.output()
    for rank in range(2):
        said = run.output(rank).splitlines()
        assert sorted(said[:2]) == ['done', 'thread']
        assert said[2:] == ['atexit']


@pytest.mark.parametrize(
    ('how', 'code', 'sentence', 'told'),
    [
        ('bad input', 1, 'error: Rank 1 cannot go on.', 'Rank 1 cannot go on.'),
        ('error', 1, 'ZeroDivisionError: of', 'Process 1 failed with ZeroDivisionError: of rank 1'),
        ('told', 1, 'ZeroDivisionError: div', 'Process 1 failed with ZeroDivisionError: division'),
        ('exit', 7, '', 'Another process of this run has ended'),
        ('killed', -signal.SIGKILL, '', 'Another process of this run has ended'),
    ],
)
def test_the_end_of_one_ends_the_other_within_seconds(forks, tmp_path, how, code, sentence, told):
    run, codes = run_two(forks, tmp_path, how)
    assert codes == [1, code], run.output()
    assert sentence in run.output(1)
    other = run.output(0)
    assert f'error: {told}' in other
    assert 'Traceback' not in other
    assert 'done' not in run.output()
