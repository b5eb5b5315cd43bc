"""Recorded passes keep the tensors that they read. Recording needs a GPU (tools/gpu_check.py)."""

import torch
from torch import nn

from sparse_mm.cuda.recording import _Reads
from sparse_mm.models import SparseViT
from sparse_mm.models.layers import windows


def reads_of(run):
    with torch.no_grad(), _Reads() as reads:
        run()
    return [value.data_ptr() for value in reads.found.values()]


def test_a_recording_keeps_weights_input_and_tables_and_not_what_the_pass_made():
    swin = dict(embed_dims=8, depths=(2,), num_heads=(1,), strides=(4,), out_indices=(0,))
    model = SparseViT(**swin, pruning_ratios=0.5).eval()
    images = torch.randn(1, 3, 60, 60)
    with torch.no_grad():
        model(images)
    found = reads_of(lambda: model(images))
    assert images.data_ptr() in found
    assert {p.data_ptr() for p in model.parameters()} <= set(found)
    # The cache may drop tables of windows, but a recorded graph still reads them.
    for shift in (0, 3):
        grid = windows.window_grid(15, 15, 7, shift, images.device)
        assert grid.tokens.data_ptr() in found
    assert len(found) < 60


def test_what_was_made_in_the_pass_is_not_kept():
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    found = reads_of(lambda: layer(layer(x).relu()))
    assert sorted(found) == sorted([x.data_ptr(), layer.weight.data_ptr(), layer.bias.data_ptr()])
