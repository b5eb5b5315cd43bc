"""A long search does not grow in memory or open files."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.runs import ENVIRONMENT


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/smaps_rollup').exists(), reason='asks Linux for memory')
def test_memory_and_open_files_stay_flat_over_200_evaluations(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'tests.faults.flat', str(tmp_path)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [list(map(int, line.split())) for line in done.stdout.splitlines()]
    print(*lines, sep='\n')
    assert [line[0] for line in lines] == [20, 200], done.stdout
    (_, memory, files), (_, memory_later, files_later) = lines
    assert memory_later <= 1.02 * memory
    assert files_later == files
