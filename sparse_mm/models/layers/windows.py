"""Dividing a map into windows, ranking them, and gathering and scattering the kept ones.

The whole idea of SparseViT (Chen et al., CVPR 2023, section 3) in pure functions. A map of ``H ×
W`` tokens is never rolled, padded or cut into windows. A window is a row of token indices: a block
gathers the tokens of the windows it keeps, computes on them, and scatters the results into a new
map. The tokens of all other windows pass through unchanged.
"""

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from sparse_mm.models.layers.window_tables import (
    is_compiled,
    kept_rows,
    kept_rows_operator,
    window_tables,
    window_tables_operator,
)
from sparse_mm.models.ratios import num_kept

# Added to the attention logits between tokens that a cyclic shift brought side by side (Swin, Liu
# et al., ICCV 2021).
SEPARATE = -100.0


class WindowGrid(NamedTuple):
    """How the tokens of one map size are divided into windows of ``N = window_size²`` tokens.

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
        masks: The grid's ``(4, N, N)``, or None on the regular grid.
        shape: ``(B, k, N)``.
    """

    rows: Tensor
    padding: Tensor | None
    mask_kind: Tensor | None
    masks: Tensor | None
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
    tokens, mask_kind = window_tables(height, width, window_size, shift, device)
    return _complete(tokens, mask_kind, height, width, window_size, shift)


def _complete(
    tokens: Tensor, mask_kind: Tensor, height: int, width: int, window_size: int, shift: int
) -> WindowGrid:
    """Derives padding and masks from a grid's tables."""
    needs_padding = height % window_size != 0 or width % window_size != 0
    padding = tokens == height * width if needs_padding else None
    if not shift:
        return WindowGrid(height * width, tokens, padding, None, None)
    # 1 for what came from the other side; integers, since Inductor cannot compare truth values.
    wrapped = torch.arange(window_size, device=tokens.device) // (window_size - shift)
    below = wrapped.repeat_interleave(window_size)  # (N,)
    beside = wrapped.repeat(window_size)  # (N,)
    apart_down = below[:, None] != below[None, :]  # (N, N)
    apart_across = beside[:, None] != beside[None, :]  # (N, N)
    together = torch.zeros_like(apart_down)
    masks = torch.stack([together, apart_down, apart_across, apart_down | apart_across])
    return WindowGrid(height * width, tokens, padding, mask_kind, masks * SEPARATE)


@lru_cache(maxsize=256)
def _cached_window_grid(
    height: int, width: int, window_size: int, shift: int, device: torch.device
) -> WindowGrid:
    # Cached tables must be usable later: those made in inference mode could not be used in
    # training, and those made while torch.export traces would have no values.
    with torch.inference_mode(False), _disable_current_modes():
        return make_window_grid(height, width, window_size, shift, device)


def window_grid(
    height: int, width: int, window_size: int, shift: int, device: torch.device
) -> WindowGrid:
    """:func:`make_window_grid`, built once per map size and device and then kept there.

    In graph capture the size may be a symbol. Graphs of ``torch.compile`` get the tables by one
    operator. Exports, and graphs of ``torch.jit.trace``, which compares two passes, compute them.
    """
    if is_compiled():
        tokens, mask_kind = window_tables_operator(height, width, window_size, shift, device)
        return _complete(tokens, mask_kind, height, width, window_size, shift)
    symbolic = isinstance(height, torch.SymInt) or isinstance(width, torch.SymInt)
    if symbolic or torch.compiler.is_dynamo_compiling() or torch.jit.is_tracing():
        return make_window_grid(height, width, window_size, shift, device)
    return _cached_window_grid(height, width, window_size, shift, device)


@torch.no_grad()
def token_importance(x: Tensor) -> Tensor:
    """Mean magnitude of each token (SparseViT, section 3.2): ``(..., C)`` -> ``(...)``, float32."""
    # Not mean(dtype=torch.float32), which is the same and cannot be exported to ONNX.
    return x.abs().float().mean(dim=-1)


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
    """Selects the rows of the flattened map that belong to the kept windows.

    Args:
        grid: The windows of one image.
        ranking: ``(B, num_windows)`` from :func:`rank_windows`; None keeps all windows, in their
            order.
        kept: How many windows ``k`` of the ranking to keep.
        batch: Number of images ``B``.

    Returns:
        The kept windows; padding tokens all refer to one additional row after the last image's last
        token.
    """
    look_up = kept_rows_operator if is_compiled() else kept_rows
    padded, length = grid.padding is not None, grid.tokens.shape[1]
    rows, windows, outside = look_up(grid.tokens, ranking, kept, batch, grid.num_tokens, padded)
    padding = outside.view(batch * kept, length, 1) if padded else None
    mask_kind = None if grid.mask_kind is None else grid.mask_kind[windows].flatten()  # (B * k,)
    return KeptWindows(rows, padding, mask_kind, grid.masks, (batch, kept, length))


class StageWindows:
    """The windows of one stage: scored once, ranked on both grids, selected block by block.

    The score is taken on the input of the first block that leaves a window out; the later blocks
    keep a prefix of the same ranking (SparseViT, section 3.2).

    Args:
        hw_shape: ``(H, W)`` of the map, in tokens.
        window_size: Side of a window.
        batch: Images ``B``.
        device: Of the map.
        shift: Whether the blocks that shift their windows do so. Defaults to True.
    """

    def __init__(
        self,
        hw_shape: tuple[int, int],
        window_size: int,
        batch: int,
        device: torch.device,
        shift: bool = True,
    ) -> None:
        shifts = 0, window_size // 2 if shift else 0
        self.grids = [window_grid(*hw_shape, window_size, shift, device) for shift in shifts]
        self.batch = batch
        self.num_tokens = self.grids[0].num_tokens
        self._rankings: list[Tensor | None] = [None, None]
        self._selected: dict[tuple[int, int, int], KeptWindows] = {}

    def to_rows(self, x: Tensor) -> Tensor:
        """Flattens a map, ``(B, L, C)`` -> ``(B * L [+ 1], C)``.

        If windows need padding, there is one more row, which padding tokens read and write.
        """
        rows = x.flatten(0, 1)
        return rows if self.grids[0].padding is None else F.pad(rows, (0, 0, 0, 1))

    def to_map(self, rows: Tensor) -> Tensor:
        """Undoes :meth:`to_rows`: ``(B * L [+ 1], C)`` -> ``(B, L, C)``."""
        return rows[: self.batch * self.num_tokens].view(self.batch, self.num_tokens, -1)

    def select(self, rows: Tensor, ratio: Fraction, shifted: bool) -> KeptWindows:
        """Selects a block's windows.

        Args:
            rows: ``(B * L [+ 1], C)``, the block's input.
            ratio: Share of windows to leave out; not below that of an earlier block.
            shifted: Whether the block works on the shifted grid.
        """
        which = 1 if shifted else 0
        grid = self.grids[which]
        windows = grid.tokens.shape[0]
        alone = isinstance(windows, int) and windows == 1  # stays, whatever the ratio
        # By its numerator: the graph capture of torch 2.6 compares no fractions.
        if ratio.numerator > 0 and not alone and self._rankings[0] is None:
            importance = self._importance(rows)  # (B, L)
            self._rankings = [rank_windows(importance, own) for own in self.grids]
        key = ratio.numerator, ratio.denominator, which
        if key not in self._selected:
            kept = num_kept(windows, ratio)
            self._selected[key] = select_windows(grid, self._rankings[which], kept, self.batch)
        return self._selected[key]

    def _importance(self, rows: Tensor) -> Tensor:
        return token_importance(self.to_map(rows))


def gather_windows(rows: Tensor, kept: KeptWindows) -> Tensor:
    """Reads the kept windows: ``(B * L [+ 1], C)`` -> ``(B * k, N, C)``.

    A padding token reads the additional row after the map.
    """
    batch, k, length = kept.shape
    return rows.index_select(0, kept.rows).view(batch * k, length, -1)


def scatter_windows(rows: Tensor, kept: KeptWindows, windows: Tensor) -> Tensor:
    """Returns a new map with the tokens ``(B * k, N, C)`` in the kept windows."""
    return rows.index_copy(0, kept.rows, windows.flatten(0, 1).to(rows.dtype))
