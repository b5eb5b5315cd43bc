"""A process that keeps freed memory reuses its pages; the user's own settings stay."""

import os
import platform
import resource
import subprocess
import sys

import pytest

from sparse_mm.engine.host_memory import SETTINGS

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='only glibc gives memory back in this way'
)

SCRIPT = """
import resource
import torch
from sparse_mm.engine.host_memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

kept = keep_freed_memory()
before = faults()
for _ in range(40):
    torch.ones(2**24)  # 64 MB, which glibc would map and unmap
print(kept, faults() - before)
"""


def in_new_process(**settings: str) -> tuple[bool, int]:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    ran = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        env=environment | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = ran.stdout.split()
    return kept == 'True', int(faults)


def test_memory_is_mapped_a_few_times_at_most() -> None:
    kept, faults = in_new_process()
    assert kept
    # The first few may not fit into freed memory of which small objects took a part.
    assert faults < 10 * 2**26 // resource.getpagesize()


def test_settings_of_the_user_stay() -> None:
    kept, _ = in_new_process(MALLOC_TRIM_THRESHOLD_='100000')
    assert not kept
