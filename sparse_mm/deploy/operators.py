"""Operators of exported graphs, in the forms that engines compute fastest.

PyTorch's exporter has a form for almost every operator. Where an engine is slow with it, or does
not recognise what it could fuse, the graph is written differently here. docs/deployment.md has the
figures.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset18 as op
from onnxscript.function_libs.torch_lib.ops import core, nn

# PyTorch's numbers of the modes of interpolation and padding.
BILINEAR, ZEROS, BORDER = 0, 0, 1


def translations() -> dict[Any, Callable[..., Any]]:
    """For ``custom_translation_table`` of ``torch.onnx.export``."""
    aten = torch.ops.aten
    return {
        aten.sort.stable: stable_sort,
        aten.gelu.default: gelu,
        aten.grid_sampler.default: grid_sample,
    }


def stable_sort(x: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """Sorts, which PyTorch's exporter cannot; TopK also keeps the order of equal values."""
    return op.TopK(x, _integers(x.shape[dim : dim + 1 or None]), axis=dim, largest=int(descending))


def gelu(x: Any, approximate: str = 'none') -> Any:
    """GELU, with its products in the order that ONNX Runtime fuses to one operator."""
    if approximate != 'none':
        return nn.aten_gelu(x, approximate)
    erf = op.Erf(op.Div(x, _numbers(2**0.5)))
    return op.Mul(op.Mul(x, op.Add(erf, _numbers(1))), _numbers(0.5))


def grid_sample(
    features: Any, grid: Any, mode: int, padding: int, align_corners: bool = False
) -> Any:
    """Samples a map bilinearly, by sums of its rows of channels.

    The engines' own GridSample reads each channel of a point from another place in memory. A row is
    contiguous, and OpenVINO has rows in bfloat16, but GridSample in float32 only.

    Args:
        features: ``(B, C, *sizes)``.
        grid: ``(B, *places, axes)``, in [-1, 1].
        mode: Interpolation.
        padding: What is outside of the map.
        align_corners: Whether -1 and 1 are the middles of the outermost pixels, or their edges.

    Returns:
        ``(B, C, *places)``.
    """
    channels, *sizes = features.shape[1:]
    places = grid.shape[1:-1]
    known = all(isinstance(size, int) for size in (channels, *sizes, *places))
    if not known or mode != BILINEAR or padding not in (ZEROS, BORDER):
        return core.aten_grid_sampler(features, grid, mode, padding, align_corners)
    axes = len(sizes)
    steps = range(1, axes + 1)
    last = [size - 1 for size in reversed(sizes)]  # x comes first in a grid
    at = op.Reshape(grid, _integers([0, -1, axes]))  # (B, n, axes)
    at = op.Mul(op.Add(at, _numbers(1)), _numbers([(n + (not align_corners)) / 2 for n in last]))
    if not align_corners:
        at = op.Sub(at, _numbers(0.5))
    if padding == BORDER:
        at = _within(at, last)
    low = op.Floor(at)
    beyond = op.Sub(at, low)
    weights, numbers = [], []  # of the lower and of the upper corner, of each axis: (B, n, 1)
    for corner, weight in (
        (low, op.Sub(_numbers(1), beyond)),
        (op.Add(low, _numbers(1)), beyond),
    ):
        inside = _within(corner, last)
        weight = op.Mul(weight, op.Cast(op.Equal(corner, inside), to=ir.DataType.FLOAT))
        weights.append(_columns(weight, axes))
        numbers.append(_columns(op.Cast(inside, to=ir.DataType.INT64), axes))
    strides = [int(np.prod(sizes[axes - axis :])) for axis in range(axes)]
    pixels = int(np.prod(sizes))
    images = op.Range(
        _integers(0), op.Squeeze(op.Shape(features, start=0, end=1)), _integers(1)
    )  # their numbers, (B,)
    first = op.Reshape(op.Mul(images, _integers(pixels)), _integers([-1, 1, 1]))
    rows = op.Transpose(features, perm=[0, *(axis + 1 for axis in steps), 1])
    rows = op.Reshape(rows, _integers([-1, channels]))
    total: Any = None
    for sides in product((0, 1), repeat=axes):
        row, weight = first, None
        for axis, side in enumerate(sides):
            row = op.Add(row, op.Mul(numbers[side][axis], _integers(strides[axis])))
            share = weights[side][axis]
            weight = share if weight is None else op.Mul(weight, share)
        part = op.Gather(rows, op.Squeeze(row, _integers([2])), axis=0)  # (B, n, C)
        part = op.Mul(part, weight)
        total = part if total is None else op.Add(total, part)
    sampled = op.Reshape(total, _integers([0, *places, channels]))
    return op.Transpose(sampled, perm=[0, axes + 1, *steps])


def _within(x: Any, last: Sequence[int]) -> Any:
    return op.Max(op.Min(x, _numbers(last)), _numbers(0))


def _columns(x: Any, count: int) -> list[Any]:
    """Splits the last of three dimensions."""
    return [op.Slice(x, _integers([i]), _integers([i + 1]), _integers([2])) for i in range(count)]


def _numbers(values: Any) -> Any:
    return _constant(values, np.float32)


def _integers(values: Any) -> Any:
    return _constant(values, np.int64)


def _constant(values: Any, dtype: Any) -> Any:
    tensor: Any = ir.tensor(np.array(values, dtype=dtype))
    return op.Constant(value=tensor)
