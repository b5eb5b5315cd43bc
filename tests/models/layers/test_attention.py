"""Which of PyTorch's attention kernels are allowed, set in one place."""

from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparse_mm.models import SparseFormer, SparseViT
from sparse_mm.models.layers import attention as module
from sparse_mm.models.layers.attention import attention
from tests.conftest import ROOT

SDPA = F.scaled_dot_product_attention
SETTINGS = ('cudnn', 'flash', 'mem_efficient', 'math')


def switches():
    return {name: getattr(torch.backends.cuda, f'{name}_sdp_enabled')() for name in SETTINGS}


@pytest.fixture
def seen(monkeypatch):
    """The backend settings at each call of PyTorch's attention, as if tensors were on a GPU."""
    found = []

    def look(*args, **kwargs):
        found.append(switches())
        return SDPA(*args, **kwargs)

    monkeypatch.setattr(module, '_on_gpu', lambda x: True)
    monkeypatch.setattr(F, 'scaled_dot_product_attention', look)
    return found


def heads(length=5):
    return torch.randn(2, 3, length, 4)


def test_it_is_attention():
    query, key, value, bias = heads(), heads(7), heads(7), torch.randn(3, 5, 7)
    weights = (query @ key.transpose(-1, -2) * 0.3 + bias).softmax(-1)
    torch.testing.assert_close(attention(query, key, value, bias, scale=0.3), weights @ value)


def test_cudnn_is_left_out_and_the_switches_stay_as_they_were(seen):
    before = switches()
    assert before['cudnn'] and before['mem_efficient']  # PyTorch's defaults
    attention(heads(), heads(), heads())
    assert seen == [{**before, 'cudnn': False}]
    assert switches() == before
    with pytest.raises(RuntimeError):
        attention(heads(), heads()[..., :3], heads())
    assert switches() == before


@pytest.mark.parametrize('chosen', ['MATH', 'CUDNN_ATTENTION'])
def test_what_the_caller_has_chosen_stays_in_force(seen, chosen):
    with sdpa_kernel(getattr(SDPBackend, chosen)):
        before = switches()
        with suppress(RuntimeError):  # a CPU has no cuDNN
            attention(heads(), heads(), heads())
    assert seen == [before]


def test_all_models_attend_through_it(seen):
    swin = dict(embed_dims=8, depths=(2,), num_heads=(1,), strides=(4,), out_indices=(0,))
    arch = dict(num_tokens=4, dims=(16, 32), depth=2, drop_path_rate=0.0)
    former = SparseFormer(arch, num_heads=2, num_points=4, feature_channels=8)
    for model, count in ((SparseViT(**swin, pruning_ratios=0.5), 2), (former, 6)):
        seen.clear()
        model(torch.randn(1, 3, 56, 56))
        assert [found['cudnn'] for found in seen] == [False] * count


def test_no_other_file_calls_pytorchs_attention():
    files = [*(ROOT / 'sparse_mm').rglob('*.py'), *(ROOT / 'projects').rglob('*.py')]
    calling = [path for path in files if 'scaled_dot_product_attention(' in path.read_text()]
    assert {path.name for path in calling} == {'attention.py'}


def test_captured_in_one_graph(monkeypatch):
    monkeypatch.setattr(module, '_on_gpu', lambda x: True)
    torch._dynamo.reset()
    compiled = torch.compile(attention, fullgraph=True, backend='aot_eager')
    query, key, value, bias = heads(), heads(), heads(), torch.randn(3, 5, 5)
    before = switches()
    torch.testing.assert_close(compiled(query, key, value, bias), SDPA(query, key, value, bias))
    assert switches() == before
