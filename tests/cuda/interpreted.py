"""Runs the kernel for attention in windows in Triton's interpreter; a process of its own, since
Triton reads ``TRITON_INTERPRET=1`` when it is imported.

    TRITON_INTERPRET=1 python -m tests.cuda.interpreted

prints a line of JSON: relative errors against PyTorch's attention in float64.
"""

import json
from itertools import product

import torch

from sparse_mm import cuda
from sparse_mm.cpu import disabled
from sparse_mm.models import SparseViT
from sparse_mm.models.layers.window_attention import KERNELS, attend
from sparse_mm.models.layers.windows import make_window_grid
from tests.models.backbones.reference import relative_error

# Window, heads, channels of a head, windows: no multiples of a program's block.
SHAPES = (
    (7, 3, 32, 5),
    (8, 2, 24, 3),
    (12, 1, 20, 2),
    (4, 2, 12, 6),
    (7, 1, 64, 1),
    (12, 2, 28, 2),
)
DTYPES = ('float32', 'float16', 'bfloat16')


def without_kernel(*args):
    kernels = list(KERNELS)
    KERNELS.clear()
    out = attend(*args)
    KERNELS.extend(kernels)
    return out


def case(side, heads, size, windows, dtype, shifted, bias_dtype=torch.float32):
    length = side * side
    masks = make_window_grid(3 * side, 3 * side, side, side // 2, torch.device('cpu')).masks
    qkv = torch.randn(windows, length, 3, heads, size).to(dtype)
    bias = torch.randn(heads, length, length).to(bias_dtype)
    kinds = (torch.arange(windows) + 3) % 4 if shifted else None
    found = attend(qkv, bias, kinds, masks)
    assert found.dtype == dtype
    expected = without_kernel(qkv.double(), bias.double(), kinds, masks.double())
    return relative_error(found.double(), expected)


def errors():
    found = {}
    for shape, dtype, shifted in product(SHAPES, DTYPES, (False, True)):
        if not shifted and shape != SHAPES[0]:
            continue  # among shifted windows there are some without a mask
        name = f'{shape} {dtype} {shifted}'
        found[name] = dtype, case(*shape, getattr(torch, dtype), shifted)
    half = torch.bfloat16
    found['half bias'] = 'bfloat16', case(7, 2, 16, 3, half, True, bias_dtype=half)

    # Another memory layout; a length that is no square number; another scale.
    qkv = torch.randn(5, 2, 3, 2, 16).transpose(0, 1)
    args = qkv, torch.randn(2, 5, 5).transpose(1, 2), None, None, 0.3
    found['strides and scale'] = 'float32', relative_error(attend(*args), without_kernel(*args))
    return found


def a_model():
    """Sparse, with padded maps: with the kernel and without it."""
    small = dict(embed_dims=24, depths=(2, 2), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1))
    model = SparseViT(**small, pruning_ratios=[0.5, 0.3]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    images = torch.randn(1, 3, 50, 75)
    with torch.no_grad(), disabled():
        found = model(images)
        cuda.use_window_kernel(False)
        expected = model(images)
        cuda.use_window_kernel()
    return max(relative_error(a, b) for a, b in zip(found, expected, strict=True))


def calls_of_the_kernel(run):
    """How often a function calls the kernel."""
    (kernel,), count = KERNELS, []
    once = type(kernel).run

    class Counting(type(kernel)):
        def run(self, *args):
            count.append(1)
            return once(self, *args)

    KERNELS[:] = [Counting()]
    run()
    KERNELS[:] = [kernel]
    return len(count)


def who_takes():
    """With gradients or dropout, PyTorch's attention is used."""
    qkv, bias = torch.randn(1, 4, 3, 1, 16), torch.randn(1, 4, 4)
    trained = qkv.clone().requires_grad_()

    def gradients():
        with torch.enable_grad():
            attend(trained, bias).sum().backward()
        assert trained.grad.isfinite().all()

    return dict(
        inference=calls_of_the_kernel(lambda: attend(qkv, bias)),
        gradients=calls_of_the_kernel(gradients),
        dropout=calls_of_the_kernel(lambda: attend(qkv, bias, dropout=0.1)),
        double=calls_of_the_kernel(lambda: attend(qkv.double(), bias.double())),
        wide=calls_of_the_kernel(lambda: attend(torch.randn(1, 4, 3, 1, 65), bias)),
    )


if __name__ == '__main__':
    torch.manual_seed(0)
    cuda.use_window_kernel()
    with torch.no_grad():
        result = dict(errors=errors(), takes=who_takes(), model=a_model())
    print(json.dumps(result))
