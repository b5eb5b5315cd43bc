"""Integer tables of windows: the tokens of each window, and the tokens that a block reads.

In a graph that ``torch.compile`` makes, each is one operator. Inductor would inline the arithmetic
of the tables into every load that uses them. From the second image size on sizes are symbols, and
simplifying such expressions takes tens of minutes.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from sparse_mm.models.layers.sizes import ceil_div


def is_compiled() -> bool:
    """Whether ``torch.compile`` captures a graph for this process, not for an export."""
    # In what Dynamo traces, is_exporting() is always true, so the flag behind it is read.
    exporting = getattr(torch.compiler, '_is_exporting_flag', False)
    return torch.compiler.is_dynamo_compiling() and not exporting


def window_tables(
    height: int, width: int, window_size: int, shift: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Lays out the windows of a map; see :func:`sparse_mm.models.layers.windows.make_window_grid`.

    Returns:
        ``(num_windows, N)`` int64, the tokens of each window, ``H * W`` for padding; and
        ``(num_windows,)`` int64, the kind of its mask on a shifted grid.
    """
    windows_down, windows_across = ceil_div(height, window_size), ceil_div(width, window_size)
    padded_height, padded_width = windows_down * window_size, windows_across * window_size
    row = (torch.arange(padded_height, device=device) + shift) % padded_height
    column = (torch.arange(padded_width, device=device) + shift) % padded_width
    inside = (row < height)[:, None] & (column < width)[None, :]
    index = torch.where(inside, row[:, None] * width + column[None, :], height * width)
    tokens = (
        index.view(windows_down, window_size, windows_across, window_size)
        .transpose(1, 2)
        .reshape(windows_down * windows_across, window_size * window_size)
    )  # (num_windows, N)
    # Only the last row and the last column of windows hold tokens from two sides of the map.
    at_bottom = torch.arange(windows_down, device=device) == windows_down - 1
    at_right = torch.arange(windows_across, device=device) == windows_across - 1
    mask_kind = (at_bottom[:, None].long() + 2 * at_right[None, :].long()).flatten()
    return tokens, mask_kind


def kept_rows(
    tokens: Tensor, ranking: Tensor | None, kept: int, batch: int, num_tokens: int, padded: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Looks up the windows that a block computes.

    Args:
        tokens: ``(num_windows, N)`` int64, the tokens of each window.
        ranking: ``(B, num_windows)`` int64, the windows of each image, most important first; None
            for their own order.
        kept: How many ``k`` of the ranking to keep.
        batch: Images ``B``.
        num_tokens: Tokens of an image; in ``tokens`` it stands for padding.
        padded: Whether there is padding.

    Returns:
        ``(B * k * N,)`` int64, the rows of the flattened map, padding one behind the last;
        ``(B, k)`` int64, the windows in their grid; and ``(B, k, N)`` bool, True for padding, empty
        where there is none.
    """
    if ranking is None:
        windows = torch.arange(kept, device=tokens.device).expand(batch, kept)
    else:
        windows = ranking[:, :kept]  # (B, k)
    inside = tokens[windows]  # (B, k, N), of each window's own image
    rows = inside + torch.arange(batch, device=tokens.device)[:, None, None] * num_tokens
    if not padded:
        return rows.flatten(), windows, rows.new_empty(0, dtype=torch.bool)
    padding = inside == num_tokens
    return rows.masked_fill(padding, batch * num_tokens).flatten(), windows, padding


@lru_cache(maxsize=256)
def _cached_tables(
    height: int, width: int, window_size: int, shift: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), _disable_current_modes():
        return window_tables(height, width, window_size, shift, device)


@torch.library.custom_op('sparse_mm::window_tables', mutates_args=())
def window_tables_operator(
    height: int, width: int, window_size: int, shift: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """:func:`window_tables` as one operator, whose results are kept for the next pass."""
    if device.type == 'cuda' and torch.cuda.is_current_stream_capturing():
        # A CUDA graph must not read tensors that may be evicted from the cache.
        return window_tables(height, width, window_size, shift, device)
    tokens, mask_kind = _cached_tables(height, width, window_size, shift, device)
    return tokens.clone(), mask_kind.clone()  # the graph may write into these


@window_tables_operator.register_fake
def _(
    height: int, width: int, window_size: int, shift: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    windows = ceil_div(height, window_size) * ceil_div(width, window_size)
    tokens = torch.empty(windows, window_size**2, dtype=torch.int64, device=device)
    return tokens, tokens.new_empty(windows)


@torch.library.custom_op('sparse_mm::kept_rows', mutates_args=())
def kept_rows_operator(
    tokens: Tensor, ranking: Tensor | None, kept: int, batch: int, num_tokens: int, padded: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`kept_rows` as one operator."""
    rows, windows, padding = kept_rows(tokens, ranking, kept, batch, num_tokens, padded)
    # Never a view of the ranking.
    return rows, windows.clone(memory_format=torch.contiguous_format), padding


@kept_rows_operator.register_fake
def _(
    tokens: Tensor, ranking: Tensor | None, kept: int, batch: int, num_tokens: int, padded: bool
) -> tuple[Tensor, Tensor, Tensor]:
    length = tokens.shape[1]
    shape = (batch, kept, length) if padded else (0,)
    return (
        tokens.new_empty(batch * kept * length),
        tokens.new_empty(batch, kept),
        tokens.new_empty(shape, dtype=torch.bool),
    )
