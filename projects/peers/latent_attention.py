"""The layers of both Perceivers: Fourier positions, and attention from latents.

Perceiver (Jaegle et al., ICML 2021, https://arxiv.org/abs/2103.03206), section 3.
"""

import math

import torch
from torch import Tensor, nn

from sparse_mm.models.layers.attention import attention


def fourier_positions(height: int, width: int, bands: int = 64) -> Tensor:
    """Describes the places of a map by waves (section 3.2).

    Args:
        height: Rows.
        width: Columns.
        bands: Waves along each axis. The coarsest has one half period from the middle to the edge,
            the finest the map's Nyquist frequency.

    Returns:
        ``(height * width, 2 + 4 * bands)``: row and column in [-1, 1], the sines, the cosines.
    """
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    places = torch.stack(torch.meshgrid(rows, columns, indexing='ij'), -1)  # (H, W, 2)
    frequencies = torch.stack([torch.linspace(1, side / 2, bands) for side in (height, width)])
    angles = math.pi * places.unsqueeze(-1) * frequencies  # (H, W, 2, bands)
    waves = angles.sin().flatten(2), angles.cos().flatten(2)  # (H, W, 2 * bands) each
    return torch.cat([places, *waves], -1).flatten(0, 1)


class LatentLayer(nn.Module):
    """Attention of latents to an array or to themselves, then an FFN that does not widen.

    Args:
        dim: Channels of a latent.
        context_dim: Channels of the array that is attended to, which are then the attention's own,
            too; None for the latents themselves.
        num_heads: Attention heads.
    """

    def __init__(self, dim: int, context_dim: int | None = None, num_heads: int = 1) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner = dim if context_dim is None else context_dim
        self.norm = nn.LayerNorm(dim)
        self.context_norm = None if context_dim is None else nn.LayerNorm(context_dim)
        self.query = nn.Linear(dim, inner)
        self.key = nn.Linear(inner, inner)
        self.value = nn.Linear(inner, inner)
        self.project = nn.Linear(inner, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, latents: Tensor, context: Tensor | None = None) -> Tensor:
        """Runs the layer.

        Args:
            latents: ``(B, N, dim)``.
            context: ``(B, M, context_dim)``, where the layer has one.

        Returns:
            ``(B, N, dim)``.
        """
        queries = self.norm(latents)
        keys = queries if self.context_norm is None else self.context_norm(context)
        q, k, v = self.query(queries), self.key(keys), self.value(keys)
        x = attention(self._split(q), self._split(k), self._split(v))
        latents = latents + self.project(x.transpose(1, 2).flatten(2))
        return latents + self.ffn(self.ffn_norm(latents))

    def _split(self, x: Tensor) -> Tensor:
        """``(B, N, C)`` -> ``(B, heads, N, C / heads)``."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def fresh_latents(count: int, dim: int) -> nn.Parameter:
    """Latents to start from: ``(count, dim)``, normal with a standard deviation of 0.02."""
    return nn.Parameter(torch.randn(count, dim) * 0.02)
