"""The Triton kernel for attention in windows, beside PyTorch's attention."""

import time
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from sparse_mm import cuda
from sparse_mm.models.layers.window_attention import attend
from sparse_mm.models.layers.windows import make_window_grid
from tools.benchmarks.gpu.passes import HALVES, Swin, distance, prepare, swin_l, swin_t
from tools.benchmarks.gpu.sections import Section
from tools.benchmarks.gpu.timing import latencies_ms, throughput_ms

# Side of a window, channels of a head, windows, heads: the stages of Swin-T and Swin-L, windows of
# V2 and of the narrow widths.
SHAPES = ((7, 32, 2304, 3), (7, 32, 36, 24), (12, 32, 946, 6), (8, 32, 576, 3), (7, 28, 576, 3))
LIMITS = {'fp32': 1e-5, 'bf16': 1e-2, 'fp16': 2e-3}


def window_kernel(section: Section) -> None:
    """Our Triton kernel for attention in windows: errors, microseconds, whole passes with it."""
    if not section.cuda or find_spec('triton') is None:
        section.note('It needs a GPU and triton: here PyTorch computes in its place.')
    for side, size, windows, heads in SHAPES[: 1 if section.tiny else None]:
        for precision in LIMITS:
            for shifted in (False, True):
                if section.left() <= 0:
                    section.note('The time was over before all shapes were seen.')
                    return
                count = 4 if section.tiny else windows
                section.add(**_row(section, side, size, count, heads, precision, shifted))
    image = (64, 80) if section.tiny else (672, 672)
    _passes(section, 'Swin-T, 672×672', swin_t(section.tiny), image, 1 if section.tiny else 4)
    if not section.tiny:
        _passes(section, 'Swin-L, 1024×2048', swin_l(False), (1024, 2048), 1)


def _use(section: Section, use: bool) -> None:
    if section.cuda and find_spec('triton') is not None:
        cuda.use_window_kernel(use)


def _row(
    section: Section,
    side: int,
    size: int,
    windows: int,
    heads: int,
    precision: str,
    shifted: bool,
) -> dict[str, Any]:
    length = side * side
    dtype = HALVES.get(precision, torch.float32)
    masks = make_window_grid(2 * side, 2 * side, side, side // 2, section.device).masks
    qkv = torch.randn(windows, length, 3, heads, size, device=section.device, dtype=dtype)
    bias = torch.randn(heads, length, length, device=section.device)
    kinds = torch.arange(windows, device=section.device) % 4 if shifted else None
    few = slice(0, 8)
    with torch.inference_mode():
        assert masks is not None
        expected = attend(
            qkv[few].double(),
            bias.double(),
            None if kinds is None else kinds[few],
            masks.double(),
        )
        run = partial(attend, qkv, bias, kinds, masks)
        pytorch_us = 1e3 * throughput_ms(section, run, 20)
        pytorch_error = distance([run()[few]], [expected])
        _use(section, True)
        began = time.perf_counter()
        out: Tensor = run()
        section.wait()
        first = (time.perf_counter() - began) * 1e3
        kernel_us = 1e3 * throughput_ms(section, run, 20)
        _use(section, False)
    error = distance([out[few]], [expected])
    row: dict[str, Any] = dict(window=side, head=size, windows=windows, heads=heads)
    row.update(precision=precision, shifted='yes' if shifted else 'no')
    row.update({'PyTorch, µs': pytorch_us, 'kernel, µs': kernel_us, 'first call, ms': first})
    row.update({'PyTorch, error': pytorch_error, 'kernel, error': error})
    return dict(row, ok=error <= LIMITS[precision])


def _passes(section: Section, name: str, swin: Swin, size: tuple[int, int], batch: int) -> None:
    """Graphs of whole passes in bf16, with the kernel and without it."""
    images = torch.randn(batch, 3, *size, device=section.device)
    for ratios_name, ratios in swin.rows().items():
        if section.left() <= 0:
            section.note(f'No time was left for {name}, {ratios_name}.')
            return
        model = swin.build(ratios).to(section.device)
        without = prepare(model, images, 'graph', 'bf16')
        expected = without(images)
        _use(section, True)
        with_kernel = prepare(model, images, 'graph', 'bf16')
        found = with_kernel(images)
        runs = {'without': partial(without, images), 'with': partial(with_kernel, images)}
        latency = latencies_ms(section, runs, max(0.5, section.left() / 10))
        _use(section, False)
        error = distance(found, expected)
        section.add(
            backbone=f'{name}, {ratios_name}',
            **{'PyTorch, ms': latency['without'], 'kernel, ms': latency['with']},
            **{'faster by': latency['without'] / latency['with'], 'difference': error},
            ok=error < 0.15,
        )
