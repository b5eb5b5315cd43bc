"""SparseViT with other rankings of its windows, to show what the paper's one is worth.

``RankedSparseViT(ranking=…)``: ``'l2'`` is the paper's; ``'random'`` ranks at random; ``'blocks'``
ranks anew before every block, where the paper shares one ranking in a stage; ``'attention'`` ranks
by how much all windows attend to each, with the next block's own queries and keys of the windows'
means. For comparisons alone: they run on the plain path.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.sparse_stage import SparseStage
from sparse_mm.models.backbones.sparse_vit import SparseViT
from sparse_mm.models.layers.windows import StageWindows

RANKINGS = 'l2', 'random', 'blocks', 'attention'


class RankedWindows(StageWindows):
    """Windows of a stage, ranked in another way."""

    ranking = 'l2'
    block: Any = None

    def select(self, rows: Tensor, ratio: Fraction, shifted: bool) -> Any:
        """Selects a block's windows; ``'blocks'`` forgets what earlier blocks ranked."""
        if self.ranking == 'blocks':
            self._rankings = [None, None]
            self._selected.clear()
        return super().select(rows, ratio, shifted)

    def _importance(self, rows: Tensor) -> Tensor:
        found = super()._importance(rows)  # (B, L)
        if self.ranking == 'random':
            return torch.rand_like(found)
        if self.ranking == 'attention':
            return self._attention(rows)
        return found

    @torch.no_grad()
    def _attention(self, rows: Tensor) -> Tensor:
        """How much the windows attend to the window of each token, ``(B, L)``."""
        grid, x = self.grids[0], self.to_map(rows)  # (B, L, C)
        padded = torch.nn.functional.pad(x, (0, 0, 0, 1))
        inside = (grid.tokens < grid.num_tokens)[None, :, :, None]  # (1, W, N, 1)
        means = (padded[:, grid.tokens] * inside).sum(2) / inside.sum(2).clamp(min=1)  # (B, W, C)
        msa = self.block.attn['w_msa']
        queries, keys, _ = msa.qkv(self.block.norm1(means)).chunk(3, dim=-1)
        heads = msa.num_heads
        queries, keys = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (queries, keys)
        )
        weights = (queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5).softmax(dim=-1)
        given = weights.mean(dim=(1, 2)).float()  # (B, W)
        found = x.new_zeros(len(x), grid.num_tokens + 1, dtype=torch.float32)
        found[:, grid.tokens] = given[:, :, None].expand(-1, -1, grid.tokens.shape[1])
        return found[:, :-1]


class RankedStage(SparseStage):
    """A stage whose windows are ranked in another way."""

    ranking = 'l2'

    def forward(
        self, x: Tensor, hw_shape: tuple[int, int], ratios: Sequence[Fraction]
    ) -> tuple[Tensor, tuple[int, int], Tensor, tuple[int, int]]:
        """As ``SparseStage.forward``."""
        windows = RankedWindows(
            hw_shape, self.window_size, x.shape[0], x.device, self.shifts(hw_shape)
        )
        windows.ranking = self.ranking
        rows = windows.to_rows(x)
        for i, (block, ratio) in enumerate(zip(self.blocks, ratios, strict=True)):
            windows.block = block
            rows = block(rows, windows.select(rows, ratio, shifted=i % 2 == 1))
        out = windows.to_map(rows)
        if self.downsample is None:
            return out, hw_shape, out, hw_shape
        return *self.downsample(out, hw_shape), out, hw_shape


@MODELS.register_module()
class RankedSparseViT(SparseViT):
    """SparseViT with another ranking.

    Args:
        ranking: One of :data:`RANKINGS`. Defaults to 'l2'.
        **kwargs: As for ``SparseViT``.

    Raises:
        BadInputError: There is no such ranking.
    """

    def __init__(self, ranking: str = 'l2', **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if ranking not in RANKINGS:
            raise BadInputError(f'ranking is one of {", ".join(RANKINGS)}, not {ranking!r}.')
        for stage in self.stages:
            stage.__class__ = RankedStage
            stage.ranking = ranking
