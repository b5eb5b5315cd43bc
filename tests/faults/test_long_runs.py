"""A long search stays as large as it was, and leaves nothing over."""

import json
import subprocess
import sys

import pytest

from tests.faults.runs import ENVIRONMENT

MEASURE = """
import json, multiprocessing, os, sys
from pathlib import Path
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.sparsity_search import SparsitySearch
from tests.engine.search.toy import toy_runner

sizes = []

class Watched(SparsitySearch):
    def _keep(self, record):
        super()._keep(record)
        pages = int(Path('/proc/self/statm').read_text().split()[1])
        sizes.append((pages, len(os.listdir('/proc/self/fd'))))

runner = toy_runner(sys.argv[1])
settings = SearchSettings.build(
    budget='macs=0.9', metric='toy/likelihood', evaluations=200, population=10, parents=4,
    num_images=4, finalists=0, image_size=(48, 48), latency_seconds=0.1,
)
search = Watched(runner, settings, Path(sys.argv[1]) / 'search')
search.prepare()
search.run()
print(json.dumps([sizes[20], sizes[200], len(multiprocessing.active_children())]))
"""


@pytest.mark.slow
def test_memory_and_files_are_flat_over_200_evaluations(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', MEASURE, str(tmp_path)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    early, late, processes = json.loads(done.stdout.strip().splitlines()[-1])
    assert late[0] <= 1.02 * early[0], (early, late)
    assert late[1] <= early[1]
    assert processes == 0
