"""SparseViT in half precision, compiled, exported, and without data."""

import pytest
import torch
from torch._ops import OpOverload

from sparse_mm.models import SparseViT
from sparse_mm.models.layers import windows
from tests.models.backbones.reference import relative_error
from tests.models.backbones.test_sparse_vit import SMALL, SPARSE, randomize


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_stays_close(dtype):
    model = SparseViT(**SMALL, pruning_ratios=SPARSE)
    model.init_weights()
    image = torch.randn(2, 3, 70, 90)
    with torch.no_grad():
        expected = model.eval()(image)
        with torch.autocast('cpu', dtype):
            found = model(image)
    for a, b in zip(found, expected, strict=True):
        assert relative_error(a.float(), b) < 0.05
    with torch.autocast('cpu', dtype):
        loss = sum(out.float().square().mean() for out in model.train()(image))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(('training', 'backend'), [(False, 'inductor'), (True, 'aot_eager')])
def test_compiles_into_one_graph(training, backend):
    # Two stages have everything that four have, and compile in half the time.
    two = dict(embed_dims=16, depths=(2, 1), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1))
    model = randomize(SparseViT(**two, pruning_ratios=[0.5, 0.3], drop_path_rate=0.0))
    model.train(training)
    image = torch.randn(2, 3, 50, 75)
    with torch.set_grad_enabled(training):
        expected = model(image)
    # One size, independent of the sizes that other tests of this process have compiled.
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend, dynamic=False)
    with torch.set_grad_enabled(training):
        found = compiled(image)
    for a, b in zip(found, expected, strict=True):
        assert relative_error(a, b) < 1e-5
    if training:
        sum(out.square().mean() for out in found).backward()
        assert all(p.grad is not None for p in model.parameters())


@pytest.mark.slow
def test_compiles_a_graph_of_any_size():
    """The second size is symbolic; Inductor must not simplify tables of symbols."""
    one = dict(embed_dims=16, depths=(2,), num_heads=(2,), strides=(4,), out_indices=(0,))
    model = randomize(SparseViT(**one, pruning_ratios=[[0.0, 0.5]])).eval()
    torch._dynamo.reset()
    compiled = torch.compile(model)
    with torch.no_grad():
        for size in ((56, 56), (50, 75), (61, 30)):
            image = torch.randn(2, 3, *size)
            for a, b in zip(compiled(image), model(image), strict=True):
                assert relative_error(a, b) < 1e-5


@pytest.mark.parametrize('strict', [False, True])
def test_exports(strict):
    two = dict(embed_dims=16, depths=(2, 1), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1))
    model = randomize(SparseViT(**two, pruning_ratios=[0.5, 0.3])).eval()
    image = torch.randn(2, 3, 50, 75)
    # A new size: tables that the trace leaves in the cache must be usable later.
    windows._cached_window_grid.cache_clear()
    with torch.no_grad():
        exported = torch.export.export(model, (image,), strict=strict)
        expected = model(image)
        for a, b in zip(exported.module()(image), expected, strict=True):
            assert relative_error(a, b) < 1e-5
    # It loads without this package.
    operators = {n.target for n in exported.graph.nodes if isinstance(n.target, OpOverload)}
    assert {operator.namespace for operator in operators} == {'aten'}
    assert exported.constants or strict  # the tables; a strict export computes them


def test_forward_depends_on_no_data():
    # The meta device has no data: a shape that depends on data, or reading data, would raise.
    model = SparseViT(**SMALL, pruning_ratios=SPARSE).to('meta')
    outs = model(torch.empty(2, 3, 50, 75, device='meta'))
    assert [tuple(out.shape) for out in outs] == [
        (2, 16, 13, 19),
        (2, 32, 7, 10),
        (2, 64, 4, 5),
        (2, 128, 2, 3),
    ]
