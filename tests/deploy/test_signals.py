"""Signals still reach a process that has used an engine."""

import subprocess
import sys

from tests.conftest import require_engine

SIGNALLED = """
import gc, signal
from sparse_mm.models import SparseViT
from sparse_mm.deploy import DeployedBackbone
import torch

def engine():
    vit = SparseViT(8, depths=(1,), num_heads=(2,), strides=(4,), out_indices=(0,))
    model = DeployedBackbone(vit, 'openvino').eval()
    model(torch.zeros(1, 3, 28, 28))
    return model

signal.signal(signal.SIGUSR1, lambda *_: print('seen'))
first = engine()
second = engine()
del first
gc.collect()
del second
gc.collect()
signal.raise_signal(signal.SIGUSR1)
"""


def test_signals_are_seen_after_engines_have_gone():
    """Signals of Ctrl-C, of a scheduler, and of a loader's process that ends."""
    require_engine('openvino')
    command = [sys.executable, '-X', 'faulthandler', '-c', SIGNALLED]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith('seen\n')
