"""Which attention PyTorch takes for windows, and what each of its kernels costs."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tools.benchmarks.gpu.passes import HALVES, distance
from tools.benchmarks.gpu.sections import Section
from tools.benchmarks.gpu.timing import throughput_ms

BACKENDS = {
    'efficient': SDPBackend.EFFICIENT_ATTENTION,
    'cuDNN': SDPBackend.CUDNN_ATTENTION,
    'math': SDPBackend.MATH,
}
# (tokens of a window, windows, heads): stage 1 of Swin-T at 672x672 by one image and four, and
# stage 1 and 3 of Swin-L at 1024x2048.
SHAPES = ((49, 576, 3), (49, 2304, 3), (144, 946, 6), (144, 66, 24))


def attention(section: Section) -> None:
    """Attention in windows: which kernel, microseconds, the first call, and the error."""
    shapes = SHAPES[:1] if section.tiny else SHAPES
    for tokens, windows, heads in shapes:
        for shifted in (False, True):
            for precision in ('bf16', 'fp16', 'fp32'):
                if section.left() <= 0:
                    section.note('The time was over before all shapes were seen.')
                    return
                count = 4 if section.tiny else windows
                section.add(**_row(section, tokens, count, heads, shifted, precision))


def _row(
    section: Section, tokens: int, windows: int, heads: int, shifted: bool, precision: str
) -> dict[str, Any]:
    dtype = HALVES.get(precision, torch.float32)
    device = section.device
    qkv = torch.randn(windows, tokens, 3, heads, 32, device=device, dtype=dtype)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    # A shifted block has a bias for each window, a regular one the same for all.
    bias = torch.randn(windows if shifted else 1, heads, tokens, tokens, device=device, dtype=dtype)
    expected = F.scaled_dot_product_attention(
        *(x[:4].double() for x in (query, key, value)), bias[:4].double()
    )
    row: dict[str, Any] = dict(
        tokens=tokens, windows=windows, heads=heads, shifted='yes' if shifted else 'no'
    )
    row['precision'] = precision
    try:
        row["PyTorch's own choice"] = SDPBackend(
            torch._fused_sdp_choice(query, key, value, bias)
        ).name
    except RuntimeError as error:
        row["PyTorch's own choice"] = str(error)[:40]
    fine = True
    for name, run in _ways(query, key, value, bias):
        try:
            began = time.perf_counter()
            out = run()
            section.wait()
            first = (time.perf_counter() - began) * 1e3
            row[f'{name}, µs'] = 1e3 * throughput_ms(section, run, 3 if section.tiny else 20)
            row[f'{name}, first call, ms'] = first
            row[f'{name}, error'] = error = distance([out[:4]], [expected])
            fine &= error < (1e-5 if dtype == torch.float32 else 2e-2)
        except RuntimeError:
            continue  # this kernel does not take such arguments
    return dict(row, ok=bool(fine))


def _ways(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor
) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    for name, backend in BACKENDS.items():

        def run(backend: SDPBackend = backend) -> Tensor:
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(query, key, value, bias)

        yield name, run
