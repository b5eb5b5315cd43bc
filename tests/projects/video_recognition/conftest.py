"""Shared by the tests of command lines: a motion config of the smallest sizes."""

import pytest

from tests.conftest import ROOT

CONFIGS = ROOT / 'projects' / 'video_recognition' / 'configs'
MOTION = CONFIGS / 'video_sparseformer_motion.py'
REDUCED = """
_base_ = {base!r}
model = dict(
    backbone=dict(
        arch=dict(num_tokens=4, dims=(16, 32), depth=1, drop_path_rate=0.0),
        focusing_repeats=1, num_points=4, feature_channels=8),
    head=dict(in_channels=32))
train_dataloader = dict(
    batch_size=5, num_workers=0, dataset=dict(num_clips=20, frames=8, size=16))
val_dataloader = dict(batch_size=5, num_workers=0, dataset=dict(num_clips=10, frames=8, size=16))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = []
"""


@pytest.fixture
def reduced(tmp_path):
    """The file of the reduced config."""
    path = tmp_path / 'reduced.py'
    path.write_text(REDUCED.format(base=str(MOTION)))
    return path
