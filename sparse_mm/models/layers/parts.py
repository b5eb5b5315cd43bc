"""Going through a map part by part.

What one step leaves in a CPU's cache, the next finds there; and small intermediate results come
from memory that the process has already, where large ones are new pages each time
(docs/performance.md). The parts are for inference alone: gradients would need them all at once.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

# Size of a part that passes through cheap steps, a normalisation for instance.
CHEAP_BYTES = 2**20


_whole_maps = ContextVar('whole_maps', default=False)


@contextmanager
def whole_maps() -> Iterator[None]:
    """Within it nothing is computed in parts: for counting what any other device would compute."""
    before = _whole_maps.set(True)
    try:
        yield
    finally:
        _whole_maps.reset(before)


def computes_in_parts(x: Tensor) -> bool:
    """Whether to go through this map in parts: on a CPU, in inference, outside captured graphs."""
    if x.device.type != 'cpu' or torch.is_grad_enabled() or is_compiling():
        return False
    return not _whole_maps.get()


def parts(x: Tensor, most: int | None = None) -> Iterator[Tensor]:
    """Cuts a map along its first dimension.

    Args:
        x: ``(L, ...)``.
        most: Bytes of a part; None for :data:`CHEAP_BYTES`.

    Yields:
        Views of consecutive entries; all at once where there is no use in parts.
    """
    most = most or CHEAP_BYTES
    if not computes_in_parts(x) or x.nbytes <= most:
        yield x
        return
    yield from x.split(max(1, most * len(x) // x.nbytes))


def join(results: Iterable[Tensor], length: int) -> Tensor:
    """Writes results one behind the other: ``(L_i, ...)`` each -> ``(length, ...)``."""
    out, start = torch.empty(0), 0
    for part in results:
        if len(part) == length:
            return part
        if not start:
            out = part.new_empty(length, *part.shape[1:])
        out[start : start + len(part)] = part
        start += len(part)
    return out


def channels_first(x: Tensor, norm: nn.Module) -> Tensor:
    """Normalises tokens and puts their channels first: ``(B, L, C)`` -> ``(B, C, L)``."""
    if not computes_in_parts(x):
        return norm(x).transpose(1, 2).contiguous()
    out, start = torch.empty(0), 0
    for part in parts(x.transpose(0, 1)):  # (L', B, C)
        part = norm(part.contiguous())
        if not start:
            out = part.new_empty(*part.shape[1:], x.shape[1])
        out[..., start : start + len(part)] = part.permute(1, 2, 0)
        start += len(part)
    return out
