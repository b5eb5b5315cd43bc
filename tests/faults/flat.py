"""A search in its own process, which prints its memory after its 20th and 200th evaluation.

``python -m tests.faults.flat WORK_DIR`` prints one line for each of the two: its number, kilobytes
of memory and open files.
"""

import ctypes
import gc
import os
import re
import sys
from pathlib import Path

from mmengine.config import Config

from sparse_mm.engine.command_line import build_runner
from sparse_mm.engine.search.scorer import CandidateScorer
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.sparsity_search import SparsitySearch
from tests.engine.search.toy import toy_config

MOMENTS = 20, 200


def held() -> tuple[int, int]:
    """Kilobytes that this process alone has written to, and how many files it has open.

    Pages of files are not counted, since other processes share them; nor is memory that was freed
    and that the allocator kept.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    rollup = Path('/proc/self/smaps_rollup').read_text()
    found = re.search(r'^Anonymous: +(\d+) kB', rollup, re.MULTILINE)
    assert found is not None, rollup
    return int(found[1]), len(os.listdir('/proc/self/fd'))


class CountingScorer(CandidateScorer):
    """Looks at the process after some of its evaluations."""

    count = 0

    def score(self, *args, **kwargs):
        found = super().score(*args, **kwargs)
        self.count += 1
        if self.count in MOMENTS:
            print(self.count, *held(), flush=True)
        return found


def main() -> None:
    """Searches, with a process that loads images; pictures are drawn from the 10th score on."""
    cfg = Config(toy_config(evaluations=MOMENTS[-1], population=10, finalists=0))
    cfg.merge_from_dict(dict(work_dir=sys.argv[1], launcher='none', log_level='WARNING'))
    cfg.val_dataloader.num_workers = 1
    runner = build_runner(cfg)
    settings = SearchSettings.from_config(cfg, {})
    search = SparsitySearch(runner, settings, Path(sys.argv[1]) / 'search')
    search.prepare()
    search.scorer.__class__ = CountingScorer
    search.run()


if __name__ == '__main__':
    main()
