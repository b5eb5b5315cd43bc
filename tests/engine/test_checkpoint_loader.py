"""Our tools read checkpoints safely, whatever MMEngine's loader would do."""

import subprocess
import sys

START = """
import os
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checkpoint_loader import read_checkpoints_safely
from sparse_mm.errors import UnsafeContentError
class Evil:
    def __reduce__(self):
        return os.mkdir, ('executed',)
history = HistoryBuffer()
history.update(1.0)
history.update(2.0)
torch.save(dict(state_dict=dict(a=torch.ones(2)), history=history, at=np.float64(3)), 'good.pth')
torch.save(dict(state_dict={}, evil=Evil()), 'evil.pth')
"""


def run(program, folder):
    done = subprocess.run(
        [sys.executable, '-c', START + program], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (folder / 'executed').exists()
    return done.stdout


def test_under_our_tools_nothing_is_read_unsafely(tmp_path):
    run(
        """
read_checkpoints_safely()
for _ in range(2):
    for read in (read_checkpoint, CheckpointLoader.load_checkpoint):
        assert read('good.pth')['history'].mean() == 1.5
        assert read('good.pth')['at'] == 3
        try:
            read('evil.pth')
        except Exception as error:
            assert 'mkdir' in str(error), error
        else:
            raise AssertionError(read)
try:
    torch.load('evil.pth', weights_only=False)  # as a loader that falls back
except Exception as error:
    assert 'mkdir' in str(error), error
else:
    raise AssertionError
try:
    CheckpointLoader.load_checkpoint('absent.pth')
except FileNotFoundError as error:
    assert 'absent.pth' in str(error)
""",
        tmp_path,
    )


def test_reading_brings_its_own_list_and_takes_it_away(tmp_path):
    """As if another loader clears the declared classes, or declares others by these names."""
    run(
        """
torch.serialization.clear_safe_globals()
torch.serialization.add_safe_globals([set])
for _ in range(2):
    assert read_checkpoint('good.pth')['history'].mean() == 1.5
assert torch.serialization.get_safe_globals() == [set]
""",
        tmp_path,
    )
