"""Testing, searching and inference on a CPU really use the executors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from sparse_mm.cpu.sparse_vit import SparseViTOnCPU
from sparse_mm.engine.inspection import backbone_shape
from sparse_mm.models import SparseViT
from sparse_mm.models.executors import marked_pass
from sparse_mm.search.space import RatioSpace
from sparse_mm.search.timing import measure_table
from tests.engine.search.toy import ToyClassifier, toy_config, toy_runner


@pytest.fixture
def passes(monkeypatch):
    """Counts passes of SparseViTs in evaluation, by the executor and on the plain path."""
    counts = dict(executor=0, plain=0)
    forward, run = SparseViT.forward, SparseViTOnCPU.run

    def count_forward(self, images):
        before = counts['executor']
        outs = forward(self, images)
        counts['plain'] += not self.training and counts['executor'] == before
        return outs

    def count_run(self, *args):
        counts['executor'] += 1
        return run(self, *args)

    monkeypatch.setattr(SparseViT, 'forward', count_forward)
    monkeypatch.setattr(SparseViTOnCPU, 'run', count_run)
    return counts


def test_tools_test(tmp_path, call_tool, passes):
    config, checkpoint = tmp_path / 'toy.py', tmp_path / 'toy.pth'
    settings = toy_config()
    for key in 'dataloader', 'evaluator', 'cfg':
        settings[f'test_{key}'] = settings[f'val_{key}']
    Config(settings).dump(config)
    torch.save(dict(state_dict=ToyClassifier().state_dict()), checkpoint)
    call_tool('test.py', config, checkpoint)
    assert passes == dict(executor=3, plain=0)  # batches


def test_training_with_a_search(tmp_path, passes):
    """Validation and scoring; all but the training steps."""
    runner = toy_runner(tmp_path, budget='macs=0.9', evaluations=3)
    runner.train()
    assert passes['executor'] > 20
    assert passes['plain'] == 0


def test_the_latency_table(passes):
    backbone = ToyClassifier().inner['body']
    shape, space = (
        backbone_shape(backbone, (48, 48), 2),
        RatioSpace.build(backbone.depths, [0, 0.5]),
    )
    measure_table(backbone, shape, space, marked_pass, seconds=0.01, repeats=(2, 2))
    assert passes['executor'] >= 4
    assert passes['plain'] == 0


def test_init_detector(passes):
    mmdet_apis = pytest.importorskip('mmdet.apis')
    root = Path(__file__).resolve().parents[2]
    config = Config.fromfile(root / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py')
    config.model.backbone.update(embed_dims=16)
    config.model.neck.in_channels = [32, 64, 128]
    config.model.init_cfg = config.load_from = None
    model = mmdet_apis.init_detector(config, device='cpu', palette='random')
    mmdet_apis.inference_detector(model, np.zeros((96, 96, 3), np.uint8))
    assert passes == dict(executor=1, plain=0)
