"""Processes that a tool starts end with it, even when it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs /proc')

SLEEPING = """
import os, sys, time
def work(path):
    open(path + '.new', 'w').write(str(os.getpid()))
    os.rename(path + '.new', path)
    time.sleep(60)
if __name__ == '__main__':
    work(sys.argv[1])
"""
# How each kind of tool starts its children: a parent that waits for one which sleeps.
PARENTS = {
    'command': """
import subprocess
subprocess.run(children.ending_with_parent([sys.executable, 'sleeping.py', 'pid']))
""",
    'torchrun': """
import subprocess
launcher = sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=1'
subprocess.run(children.ending_with_parent([*launcher, 'sleeping.py', 'pid']))
""",
    'pool': """
from concurrent.futures import ProcessPoolExecutor
context = get_context('forkserver')
with ProcessPoolExecutor(1, context, initializer=children.end_with_parent) as pool:
    pool.submit(sleeping.work, 'pid').result()
""",
    'fork': """
def work():
    children.end_with_parent()
    sleeping.work('pid')
child = get_context('fork').Process(target=work)
child.start()
child.join()
""",
    'searches': """
import argparse
from tools.benchmarks import compare_searches, tool_runs
from sparse_mm.engine.command_line import run
comparison = object.__new__(compare_searches.Comparison)
comparison.args = argparse.Namespace(jobs=2)
tool_runs.ROOT = Path.cwd()
runs = [(Path('log'), 1, 'sleeping.py', 'pid')] * 3
run(lambda: comparison.parallel(compare_searches.call, runs))
""",
    'demo': """
from tools import demo_progress
from sparse_mm.engine.command_line import run
demo_progress.ROOT = Path.cwd()
run(lambda: demo_progress.run_tool('sleeping.py', 'pid', log=Path('log')))
""",
}
TOOLS = 'searches', 'demo'
SLOW = *TOOLS, 'torchrun'  # they take seconds to import
HEAD = """
import sys
from multiprocessing import get_context
from pathlib import Path
import sleeping
sys.path.append(SOURCES)
import children  # alone: what it is a part of takes seconds to import
if __name__ == '__main__':
"""


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def start(tmp_path):
    """Starts a parent; gives it and the number of its child, which sleeps by then."""
    parents, pids = [], []

    def start(kind):
        (tmp_path / 'tools').mkdir()
        for folder in (tmp_path, tmp_path / 'tools'):
            (folder / 'sleeping.py').write_text(SLEEPING)
        code = HEAD.replace('SOURCES', repr(str(ROOT / 'sparse_mm' / 'engine'))) + PARENTS[
            kind
        ].replace('\n', '\n    ')
        (tmp_path / 'parent.py').write_text(code)
        parents.append(
            subprocess.Popen(
                [sys.executable, 'parent.py'],
                cwd=tmp_path,
                env={**os.environ, 'PYTHONPATH': str(ROOT)},
            )
        )
        pid = tmp_path / 'pid'
        assert wait_until(lambda: pid.exists() or parents[0].poll() is not None)
        pids.append(int(pid.read_text()))
        assert lives(pids[0])
        return parents[0], pids[0]

    yield start
    for parent in parents:
        parent.kill()
        parent.wait()
    for pid in pids:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    'kind',
    [pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else ()) for kind in PARENTS],
)
def test_a_killed_process_leaves_no_child(start, kind):
    parent, pid = start(kind)
    parent.kill()
    assert wait_until(lambda: not lives(pid), 10)


@pytest.mark.slow
@pytest.mark.parametrize('kind', TOOLS)
def test_sigterm_ends_the_children_at_once(start, kind):
    parent, pid = start(kind)
    parent.terminate()
    assert parent.wait(20) == 128 + signal.SIGTERM
    assert wait_until(lambda: not lives(pid), 10)


def test_a_child_whose_parent_is_gone_already_does_not_begin(tmp_path):
    from sparse_mm.engine.children import CHILD_START

    command = [sys.executable, '-I', '-S', str(CHILD_START), str(os.getppid())]
    ended = subprocess.run([*command, sys.executable, '-c', 'print(1)'], capture_output=True)
    assert ended.returncode == 128 + signal.SIGTERM
    assert not ended.stdout
