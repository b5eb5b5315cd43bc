"""Maps computed in parts give what whole ones give."""

import pytest
import torch
from torch import nn

from sparse_mm.models.layers import parts as module
from sparse_mm.models.layers.linear import WIDE, lies_by_column
from sparse_mm.models.layers.parts import channels_first, computes_in_parts, parts, whole_maps
from sparse_mm.models.layers.patch_merging import PatchMerging
from sparse_mm.models.layers.windows import token_importance


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, 'CHEAP_BYTES', 1000)
    monkeypatch.setattr('sparse_mm.models.layers.patch_merging.PART_BYTES', 1000)


def test_only_inference_on_a_cpu_goes_in_parts():
    x = torch.randn(100, 20)
    assert [len(part) for part in parts(x)] == [100]
    with torch.no_grad():
        assert [len(part) for part in parts(x)] == [12] * 8 + [4]
        assert torch.equal(torch.cat(list(parts(x))), x)
        assert [len(part) for part in parts(x[:, :1])] == [100]
        assert not computes_in_parts(x.to('meta'))
        with whole_maps():
            assert [len(part) for part in parts(x)] == [100]
        assert computes_in_parts(x)
        assert [len(part) for part in parts(torch.randn(3, 1000))] == [1, 1, 1]


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_steps_in_parts_give_the_same(batch, dtype):
    x = torch.randn(batch, 13 * 10, 8, dtype=dtype)
    norm, merging = nn.LayerNorm(8), PatchMerging(8, 16, 2, nn.LayerNorm(32))
    nn.init.normal_(norm.weight)
    norm, merging = norm.to(dtype), merging.to(dtype)
    found = []
    for mode in (torch.enable_grad, torch.no_grad):
        with mode():
            merged, shape = merging(x, (13, 10))
            found.append((channels_first(x, norm), merged, token_importance(x)))
    assert shape == (7, 5)
    assert found[1][0].is_contiguous()
    for whole, part in zip(*found, strict=True):
        assert part.dtype == whole.dtype
        torch.testing.assert_close(part, whole.detach(), rtol=1e-5, atol=1e-5)


def test_merging_is_the_same_where_weights_lie_by_column():
    torch.manual_seed(0)
    merging = PatchMerging(WIDE // 4, 16, 2, nn.LayerNorm(WIDE))
    x = torch.randn(2, 9 * 8, WIDE // 4)
    expected, _ = merging(x, (9, 8))
    with torch.no_grad():
        found, _ = merging.eval()(x, (9, 8))
    assert lies_by_column(merging.reduction.weight)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
