"""Kernels and bytes of a pass on a GPU, traced without one: no more than the limits, no syncs."""

import pytest
import torch
from torch import nn

from sparse_mm.models import SparseFormer, SparseViT
from tools.benchmarks.gpu.passes import TINY_FORMER, TINY_SWIN, cases
from tools.benchmarks.runs import MIDDLE_T, SWIN_L, SWIN_T
from tools.benchmarks.traffic import Traffic, count_pass, count_training_step


def swin(settings=SWIN_T, ratios=None):
    return SparseViT(**{**settings, 'drop_path_rate': 0.0}, pruning_ratios=ratios).eval()


# In bfloat16, batch 4 at 672x672 (Swin-L: 1 at 1024x2048; SparseFormer: 32 at 224x224). Fewer is
# better: lower a limit when a pass needs less. Raising one needs a reason.
LIMITS = {
    'dense': (lambda: swin(), (672, 672), 4, 249, 5.77),
    'middle': (lambda: swin(ratios=MIDDLE_T), (672, 672), 4, 285, 4.08),
    '60 %': (lambda: swin(ratios=0.6), (672, 672), 4, 285, 2.99),
    'Swin-L, 60 %': (lambda: swin(SWIN_L, 0.6), (1024, 2048), 1, 515, 14.6),
    'SparseFormer-T': (lambda: SparseFormer().eval(), (224, 224), 32, 382, 3.32),
}


@pytest.mark.parametrize('name', LIMITS)
def test_kernels_and_bytes_of_a_pass_do_not_grow(name):
    build, size, batch, kernels, gigabytes = LIMITS[name]
    with torch.device('meta'):  # weights without data are created quickly
        model = build()
    traffic = count_pass(model, size, batch)
    assert traffic.kernels.total() <= kernels
    assert traffic.moved <= gigabytes * 1e9
    # The limits are tight: the pass needs almost as much.
    assert traffic.kernels.total() >= 0.97 * kernels
    assert traffic.moved >= 0.97 * gigabytes * 1e9


@pytest.mark.parametrize('case', cases(tiny=True), ids=lambda case: case.name)
def test_no_pass_and_no_training_step_waits(case):
    model, images = case.build(), case.inputs(2)
    with torch.no_grad():
        assert count_pass(model, case.size, 2, torch.float32).waits == []
    assert count_training_step(model.train(), images).waits == []


def test_changing_ratios_waits_for_nothing():
    model = swin(TINY_SWIN).to('meta')
    with Traffic() as traffic:
        model.set_pruning_ratios(0.6)
        model.override_ratios(0.3)
        model.override_ratios(None)
        model(torch.empty(1, 3, 64, 64, device='meta'))
    assert traffic.waits == []


class Waits(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images):
        x = images * self.weight[:, None, None]
        return self.how(x)


def to_gpu(x):
    return x + torch.ones(3, 1, 1).to(x.device)


def later(x):
    return x + torch.ones(3, 1, 1).to(x.device, non_blocking=True)


@pytest.mark.parametrize('how', [lambda x: x[x > 0], lambda x: x.to('cpu'), to_gpu])
def test_waits_are_found(how):
    try:
        found = count_pass(Waits(how), (8, 8), dtype=torch.float32).waits
    except Exception as error:  # fake tensors have no sizes that depend on values
        found = [str(error)]
    assert found
    assert count_pass(Waits(later), (8, 8), dtype=torch.float32).waits == []


def test_kernels_and_bytes_are_counted_as_defined():
    class Model(nn.Module):
        def forward(self, x):  # (1, 3, 8, 8), 768 bytes
            x = x.view(3, 64)  # nothing
            rows = x.index_select(0, torch.zeros(2, dtype=torch.int64, device=x.device))
            return rows + x[:1].expand(2, 64)

    traffic = count_pass(Model(), (8, 8), dtype=torch.float32)
    assert traffic.kernels == {
        'aten.zeros.default': 1,
        'aten.index_select.default': 1,
        'aten.add.Tensor': 1,
    }
    # 16 of the index; 512 read and written, 16 read; 512 + 256 read, 512 written.
    assert traffic.moved == 16 + (512 + 512 + 16) + (512 + 256 + 512)


def test_pruning_and_less_of_everything():
    dense, sparse = (count_pass(swin(TINY_SWIN, ratios), (224, 224)) for ratios in (None, 0.6))
    assert sparse.moved < dense.moved
    other = SparseFormer(TINY_FORMER, num_heads=2, num_points=4, feature_channels=8).eval()
    assert count_pass(other, (32, 32)).kernels.total() > 20
