"""Which tokens make which window, which windows matter, and moving just those.

The whole idea of SparseViT (Chen et al., CVPR 2023, section 3) in pure functions: a map of ``H ×
W`` tokens is never rolled, padded or cut into windows. A window is a row of token indices; a block
reads the rows of the windows it keeps, works on them, and writes them back in place. The tokens of
all other windows are not touched.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from sparse_mm.models.layers.parts import join, parts

# Added to the attention between tokens that a cyclic shift brought side by side (Swin, Liu et al.,
# ICCV 2021).
SEPARATE = -100.0


class WindowGrid(NamedTuple):
    """How the tokens of one map size fall into windows of ``N = window_size²`` tokens.

    Attributes:
        num_tokens: ``H * W``.
        tokens: ``(num_windows, N)`` int64, indices into the flattened map; ``H * W`` stands for
            padding.
        padding: ``(num_windows, N)`` bool, True where a window reaches over the map's edge; None
            where none does.
        mask_kind: ``(num_windows,)`` int64, which of ``masks`` a window of the shifted grid needs;
            None on the regular grid.
        masks: ``(4, N, N)`` float, added to the attention logits: inside the map, at the bottom, at
            the right, in the corner; None on the regular grid.
    """

    num_tokens: int
    tokens: Tensor
    padding: Tensor | None
    mask_kind: Tensor | None
    masks: Tensor | None


class KeptWindows(NamedTuple):
    """The ``k`` windows of each of ``B`` images that a block computes.

    Attributes:
        rows: ``(B * k * N,)`` int64, rows of the flattened ``(B * H * W [+ 1], C)`` map.
        padding: ``(B * k, N, 1)`` bool, or None where the map needs no padding.
        mask_kind: ``(B * k,)`` int64, or None on the regular grid.
        shape: ``(B, k, N)``.
    """

    rows: Tensor
    padding: Tensor | None
    mask_kind: Tensor | None
    shape: tuple[int, int, int]


def make_window_grid(
    height: int, width: int, window_size: int, shift: int, device: torch.device
) -> WindowGrid:
    """Lays out the windows of a map.

    They are those that rolling the map by ``-shift`` and padding it at the bottom right would give.

    Args:
        height: Rows of the map, in tokens.
        width: Columns of the map, in tokens.
        window_size: Side of a window, in tokens.
        shift: 0 for the regular grid, ``window_size // 2`` for the shifted one.
        device: Where the tables shall live.

    Returns:
        The grid, windows in row-major order.
    """
    windows_down, windows_across = math.ceil(height / window_size), math.ceil(width / window_size)
    row = (torch.arange(windows_down * window_size, device=device) + shift) % (
        windows_down * window_size
    )
    column = (torch.arange(windows_across * window_size, device=device) + shift) % (
        windows_across * window_size
    )
    inside = (row < height)[:, None] & (column < width)[None, :]
    index = torch.where(inside, row[:, None] * width + column[None, :], height * width)
    tokens = (
        index.view(windows_down, window_size, windows_across, window_size)
        .transpose(1, 2)
        .reshape(windows_down * windows_across, window_size * window_size)
    )  # (num_windows, N)
    needs_padding = bool(height % window_size or width % window_size)
    padding = tokens == height * width if needs_padding else None
    if not shift:
        return WindowGrid(height * width, tokens, padding, None, None)

    # Only the last row and the last column of windows hold tokens from two sides of the map.
    at_bottom = torch.arange(windows_down, device=device) == windows_down - 1
    at_right = torch.arange(windows_across, device=device) == windows_across - 1
    mask_kind = (at_bottom[:, None].long() + 2 * at_right[None, :].long()).flatten()
    wrapped = torch.arange(window_size, device=device) >= window_size - shift
    below = wrapped.repeat_interleave(window_size)  # (N,)
    beside = wrapped.repeat(window_size)  # (N,)
    torn = below[:, None] != below[None, :], beside[:, None] != beside[None, :]  # (N, N) each
    nothing = torch.zeros_like(torn[0])
    masks = torch.stack([nothing, torn[0], torn[1], torn[0] | torn[1]])  # (4, N, N)
    return WindowGrid(height * width, tokens, padding, mask_kind, masks * SEPARATE)


@lru_cache(maxsize=256)
def _cached_window_grid(
    height: int, width: int, window_size: int, shift: int, device: torch.device
) -> WindowGrid:
    # What is kept must be of use later: tables made in inference mode could not be used in
    # training, tables made while torch.export traces would have no numbers.
    with torch.inference_mode(False), _disable_current_modes():
        return make_window_grid(height, width, window_size, shift, device)


@torch.compiler.assume_constant_result
def window_grid(
    height: int, width: int, window_size: int, shift: int, device: torch.device
) -> WindowGrid:
    """:func:`make_window_grid`, built once per map size and device and then kept there.

    Under ``torch.compile`` and ``torch.export`` the tables are constants of the graph.
    """
    return _cached_window_grid(height, width, window_size, shift, device)


@torch.no_grad()
def token_importance(x: Tensor) -> Tensor:
    """Mean magnitude of each token (SparseViT, section 3.2): ``(B, L, C)`` -> ``(B, L)``."""
    tokens = parts(x.flatten(0, 1))
    # Not mean(dtype=torch.float32), which is the same and cannot be exported to ONNX.
    means = (part.abs().float().mean(dim=-1) for part in tokens)
    return join(means, x.shape[0] * x.shape[1]).view(x.shape[:2])


@torch.no_grad()
def rank_windows(importance: Tensor, grid: WindowGrid) -> Tensor:
    """Ranks the windows of each image by the L2 norm of their tokens' importance.

    Padding counts 0.

    Args:
        importance: ``(B, L)`` from :func:`token_importance`.
        grid: The windows, of ``L`` tokens together.

    Returns:
        ``(B, num_windows)`` int64, most important first; ties in the order of the windows, so that
        the ranking is the same on every device and in every run.
    """
    importance = F.pad(importance, (0, 1))  # (B, L + 1): what padding reads is 0
    scores = torch.linalg.vector_norm(importance[:, grid.tokens], dim=-1)  # (B, num_windows)
    return scores.argsort(dim=1, descending=True, stable=True)


def select_windows(grid: WindowGrid, ranking: Tensor | None, kept: int, batch: int) -> KeptWindows:
    """Tells which rows of the flattened map make the kept windows.

    Args:
        grid: The windows of one image.
        ranking: ``(B, num_windows)`` from :func:`rank_windows`; None keeps all windows, in their
            order.
        kept: How many windows ``k`` of the ranking to keep.
        batch: Number of images ``B``.

    Returns:
        The kept windows; padding tokens all point to one row behind the last image's last token.
    """
    device = grid.tokens.device
    if ranking is None:
        windows = torch.arange(kept, device=device).expand(batch, kept)
    else:
        windows = ranking[:, :kept]  # (B, k)
    tokens = grid.tokens[windows]  # (B, k, N)
    first_row = torch.arange(batch, device=device)[:, None, None] * grid.num_tokens
    rows = tokens + first_row  # (B, k, N)
    padding = None
    if grid.padding is not None:
        padding = grid.padding[windows]  # (B, k, N)
        rows = rows.masked_fill(padding, batch * grid.num_tokens)
        padding = padding.flatten(0, 1).unsqueeze(-1)  # (B * k, N, 1)
    mask_kind = None if grid.mask_kind is None else grid.mask_kind[windows].flatten()
    return KeptWindows(rows.flatten(), padding, mask_kind, (batch, kept, grid.tokens.shape[1]))


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
    parts = max(1, math.ceil(batch * k / most))
    ends = [batch * k * i // parts for i in range(parts + 1)]
    for start, end in pairwise(ends):
        padding = None if kept.padding is None else kept.padding[start:end]
        mask_kind = None if kept.mask_kind is None else kept.mask_kind[start:end]
        rows = kept.rows[start * length : end * length]
        yield KeptWindows(rows, padding, mask_kind, (1, end - start, length))


def flat_rows(x: Tensor, grid: WindowGrid) -> Tensor:
    """Brings a map, once per stage, into the flat form that the stage's blocks change in place.

    Args:
        x: ``(B, L, C)``.
        grid: Any grid of the map.

    Returns:
        ``(B * L, C)``; or ``(B * L + 1, C)`` where windows need padding: the last row is what
        padding tokens read and write. Without padding and gradients it may be the memory of ``x``.
    """
    rows = x.contiguous().flatten(0, 1)
    if grid.padding is not None:
        return F.pad(rows, (0, 0, 0, 1))
    # Autograd would copy the gradients of the whole map for each write into a view of it.
    return rows.clone() if torch.is_grad_enabled() else rows


def gather_windows(rows: Tensor, kept: KeptWindows) -> Tensor:
    """Reads the kept windows: ``(B * L [+ 1], C)`` -> ``(B * k, N, C)``.

    A padding token reads whatever was last written to the row behind the map.
    """
    batch, k, length = kept.shape
    return rows.index_select(0, kept.rows).view(batch * k, length, -1)


def real_tokens(kept: KeptWindows, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Leaves the padding out. How many tokens remain depends on data, so no graph can hold it.

    Args:
        kept: The windows.
        windows: ``(B, k * N, C)``, their tokens.

    Returns:
        The rows of the flattened map that the tokens belong to, ``(P,)`` int64, and the tokens,
        ``(P, C)``.
    """
    tokens = windows.flatten(0, 1)  # (B * k * N, C)
    if kept.padding is None:
        return kept.rows, tokens
    real = (~kept.padding.flatten()).nonzero().squeeze(1)  # (P,)
    return kept.rows.index_select(0, real), tokens.index_select(0, real)


def scatter_windows(rows: Tensor, kept: KeptWindows, windows: Tensor) -> None:
    """Writes the kept windows, ``(B * k, N, C)``, back in place; all other rows stay."""
    rows.index_copy_(0, kept.rows, windows.flatten(0, 1).to(rows.dtype))
