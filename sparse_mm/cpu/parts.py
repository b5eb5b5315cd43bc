"""Processing a map in chunks.

The data of a chunk stay in the CPU's cache from one step to the next. Small intermediate results
reuse memory of the process, while large ones need new pages each time (docs/performance.md).
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from sparse_mm.models.layers.windows import KeptWindows, StageWindows, token_importance

# Size of a chunk for cheap steps, such as a normalisation.
CHEAP_BYTES = 2**20


def parts(x: Tensor, most: int | None = None) -> Iterator[Tensor]:
    """Cuts a map along its first dimension.

    Args:
        x: ``(L, ...)``.
        most: Bytes of a part; None for :data:`CHEAP_BYTES`.

    Yields:
        Views of consecutive entries.
    """
    most = most or CHEAP_BYTES
    if x.nbytes <= most:
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
    out, start = torch.empty(0), 0
    for part in parts(x.transpose(0, 1)):  # (L', B, C)
        part = norm(part.contiguous())
        if not start:
            out = part.new_empty(*part.shape[1:], x.shape[1])
        out[..., start : start + len(part)] = part.permute(1, 2, 0)
        start += len(part)
    return out


class WindowsInParts(StageWindows):
    """A stage's windows, whose score is computed part by part."""

    def _importance(self, rows: Tensor) -> Tensor:
        tokens = rows[: self.batch * self.num_tokens]
        importance = join((token_importance(part) for part in parts(tokens)), len(tokens))
        return importance.view(self.batch, self.num_tokens)


def split_windows(kept: KeptWindows, most: int) -> Iterator[KeptWindows]:
    """Cuts kept windows into parts of about equal size, which can be computed one after another.

    Windows share no token, so the order does not matter.

    Args:
        kept: Windows of ``B`` images.
        most: The largest number of windows in a part.

    Yields:
        The parts, each as if all its windows were of one image: ``shape`` is ``(1, k', N)``.
    """
    batch, k, length = kept.shape
    count = -(-batch * k // most)
    ends = [batch * k * i // count for i in range(count + 1)]
    for start, end in pairwise(ends):
        padding = None if kept.padding is None else kept.padding[start:end]
        mask_kind = None if kept.mask_kind is None else kept.mask_kind[start:end]
        rows = kept.rows[start * length : end * length]
        yield KeptWindows(rows, padding, mask_kind, kept.masks, (1, end - start, length))


def real_tokens(kept: KeptWindows, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Removes the padding.

    Args:
        kept: The windows.
        tokens: ``(B * k, N, C)``.

    Returns:
        The rows of the flattened map that the tokens belong to, ``(P,)`` int64, and the tokens,
        ``(P, C)``.
    """
    tokens = tokens.flatten(0, 1)  # (B * k * N, C)
    if kept.padding is None:
        return kept.rows, tokens
    real = (~kept.padding.flatten()).nonzero().squeeze(1)  # (P,)
    return kept.rows.index_select(0, real), tokens.index_select(0, real)
