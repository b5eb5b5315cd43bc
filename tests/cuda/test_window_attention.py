"""The Triton kernel for attention in windows: in the interpreter, compiled for a GPU, captured."""

import json
import os
import subprocess
import sys

import pytest
import torch

from sparse_mm import cuda
from sparse_mm.errors import BadInputError
from sparse_mm.models.layers.window_attention import KERNELS, attend
from tests.conftest import ROOT

# Half precision of the weights; the interpreter rounds bfloat16 towards zero.
LIMITS = {'float32': 1e-6, 'float16': 5e-4, 'bfloat16': 8e-3}


@pytest.fixture(autouse=True)
def off_again():
    yield
    cuda.use_window_kernel(False)


@pytest.fixture(scope='module')
def interpreted():
    pytest.importorskip('triton', reason='triton comes with the CUDA builds of torch')
    result = subprocess.run(
        [sys.executable, '-m', 'tests.cuda.interpreted'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, 'TRITON_INTERPRET': '1', 'PYTHONPATH': str(ROOT)},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_it_is_attention_of_all_windows_heads_and_precisions(interpreted):
    assert len(interpreted['errors']) == 23
    wrong = {k: e for k, (dtype, e) in interpreted['errors'].items() if not e < LIMITS[dtype]}
    assert wrong == {}


def test_a_sparse_model_computes_the_same_by_it(interpreted):
    assert interpreted['model'] < 1e-5


def test_gradients_dropout_and_other_arguments_stay_with_pytorch(interpreted):
    assert interpreted['takes'] == dict(inference=1, gradients=0, dropout=0, double=0, wide=0)


def test_it_is_off_by_default_and_never_takes_a_cpu(monkeypatch):
    assert KERNELS == []
    qkv, bias = torch.randn(2, 4, 3, 1, 16), torch.randn(1, 4, 4)
    expected = attend(qkv, bias)
    pytest.importorskip('triton')
    cuda.use_window_kernel()
    cuda.use_window_kernel()  # twice is once
    assert len(KERNELS) == 1
    assert torch.equal(attend(qkv, bias), expected)
    cuda.use_window_kernel(False)
    assert KERNELS == []


def test_a_missing_triton_is_reported(monkeypatch):
    monkeypatch.setattr(cuda, 'find_spec', lambda name: None)
    with pytest.raises(BadInputError, match='needs triton'):
        cuda.use_window_kernel()
    assert KERNELS == []


@pytest.mark.parametrize(
    ('side', 'size', 'dtype'),
    [(7, 32, 'bf16'), (8, 32, 'fp16'), (12, 32, 'bf16'), (7, 28, 'fp32'), (12, 32, 'fp32')],
)
def test_it_compiles_for_hopper_and_keeps_all_in_registers(side, size, dtype, tmp_path):
    pytest.importorskip('triton', reason='triton comes with the CUDA builds of torch')
    import triton
    from triton.backends import nvidia
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from sparse_mm.cuda.window_attention import _kernel, constants

    floats = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'fp32': torch.float32}[dtype]
    constexpr = constants(side * side, 3, size, masked=True, dtype=floats)
    arguments = dict(qkv='*' + dtype, bias='*fp32', kinds='*i64', masks='*fp32', out='*' + dtype)
    arguments |= dict(windows='i32', scale='fp32', **dict.fromkeys(constexpr, 'constexpr'))
    compiled = triton.compile(
        ASTSource(_kernel, arguments, constexpr),
        target=GPUTarget('cuda', 90, 32),
    )
    cubin = tmp_path / 'kernel.cubin'
    cubin.write_bytes(compiled.asm['cubin'])
    tool = os.path.join(os.path.dirname(nvidia.__file__), 'bin', 'cuobjdump')
    usage = subprocess.run([tool, '-res-usage', cubin], capture_output=True, text=True).stdout
    assert 'STACK:0 ' in usage, usage  # no registers are spilled


class Attention(torch.nn.Module):
    def forward(self, qkv, bias, kinds, masks):
        from sparse_mm.cuda.window_attention import window_attention

        return window_attention(qkv, bias, kinds, masks, 0.25)


def arguments():
    kinds = torch.tensor([0, 1, 3])
    return torch.randn(3, 9, 3, 2, 16), torch.randn(2, 9, 9), kinds, torch.zeros(4, 9, 9)


def test_exports_as_one_operator():
    pytest.importorskip('triton', reason='triton comes with the CUDA builds of torch')
    program = torch.export.export(Attention(), arguments())
    names = [str(node.target) for node in program.graph.nodes if node.op == 'call_function']
    assert names == ['sparse_mm.window_attention.default']
    (out,) = [node for node in program.graph.nodes if node.op == 'call_function']
    assert out.meta['val'].shape == (3, 9, 32)


def test_a_compiler_sees_the_kernel_itself():
    pytest.importorskip('triton', reason='triton comes with the CUDA builds of torch')
    from torch._functorch.aot_autograd import aot_module_simplified

    seen = []

    def look(module, inputs):
        seen.extend(str(node.target) for node in module.graph.nodes)
        raise RuntimeError('seen')

    def backend(graph, inputs):
        return aot_module_simplified(graph, inputs, fw_compiler=look)

    torch._dynamo.reset()
    with torch.no_grad(), pytest.raises(Exception, match='seen'):
        torch.compile(Attention(), backend=backend, fullgraph=True)(*arguments())
    assert any('triton_kernel_wrapper' in name for name in seen), seen
