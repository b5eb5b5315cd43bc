"""Decoders of sampled features into latent tokens (SparseFormer, Gao et al., ICLR 2024).

Each (section 3.3) maps ``P`` sampled points of ``C`` channels to an update of the token. The
adaptive decoder mixes channels and points by weights that the token generates; the static one has
the same weights for all tokens; the linear one is a projection.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AdaptiveMixing(nn.Module):
    """Mixes channels, then points, by weights that each token generates (equation 5).

    Args:
        dim: Channels of a token.
        channels: Channels ``C`` of a sampled point.
        num_points: Points ``P`` of a token.
        out_points: Points after mixing; None leaves their number.
        hidden_dim: Width of the weight generator; None is a quarter of ``dim``.
        bias: Whether both mixings have a learnt bias; without it, as in the bootstrapped models,
            there is no activation between them either.
        epsilon: Of the normalisation.
    """

    def __init__(
        self,
        dim: int,
        channels: int,
        num_points: int,
        out_points: int | None = None,
        hidden_dim: int | None = None,
        bias: bool = True,
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        out_points = num_points if out_points is None else out_points
        hidden_dim = dim // 4 if hidden_dim is None else hidden_dim
        self.shapes = (channels, channels), (out_points, num_points)
        sizes = [rows * columns for rows, columns in self.shapes]
        self.sizes = sizes
        self.norm = nn.LayerNorm(dim, eps=epsilon)
        self.reduce = nn.Linear(dim, hidden_dim)
        self.generate = nn.Linear(hidden_dim, sum(sizes))
        self.channel_bias = nn.Parameter(torch.zeros(channels)) if bias else None
        self.point_bias = nn.Parameter(torch.zeros(out_points)) if bias else None
        self.project = nn.Linear(out_points * channels, dim)

    def init_weights(self) -> None:
        """Initialises as a static mixing: the generator's weight is 0, its bias Xavier."""
        nn.init.constant_(self.norm.weight, self.norm.weight.numel() ** -0.5)
        nn.init.zeros_(self.generate.weight)
        with torch.no_grad():
            for part, shape in zip(self.generate.bias.split(self.sizes), self.shapes, strict=True):
                nn.init.xavier_uniform_(part.view(shape))

    def forward(self, sampled: Tensor, tokens: Tensor) -> Tensor:
        """Decodes samples.

        Args:
            sampled: ``(B, N, P, C)``.
            tokens: ``(B, N, dim)``.

        Returns:
            ``(B, N, dim)``.
        """
        batch, count = tokens.shape[:2]
        weights = self.generate(self.reduce(self.norm(tokens))).flatten(0, 1)
        channel, point = (
            part.unflatten(-1, shape)
            for part, shape in zip(weights.split(self.sizes, -1), self.shapes, strict=True)
        )  # (B * N, C, C) and (B * N, P', P)
        x = sampled.to(weights.dtype).flatten(0, 1)  # (B * N, P, C)
        x = torch.bmm(x, channel)
        if self.channel_bias is not None:
            x = F.gelu(x + self.channel_bias)
        x = torch.bmm(point, x)  # (B * N, P', C)
        if self.point_bias is not None:
            x = x + self.point_bias.unsqueeze(-1)
        return self.project(F.gelu(x).view(batch, count, -1))


class StaticMixing(nn.Module):
    """Mixes channels, then points, by the same learnt weights for all tokens.

    Args:
        dim: Channels of a token.
        channels: Channels ``C`` of a sampled point.
        num_points: Points ``P`` of a token.
    """

    def __init__(self, dim: int, channels: int, num_points: int) -> None:
        super().__init__()
        self.mix_channels = nn.Linear(channels, channels)
        self.mix_points = nn.Linear(num_points, num_points)
        self.project = nn.Linear(num_points * channels, dim)

    def init_weights(self) -> None:
        """Initialises as the adaptive mixing."""
        nn.init.xavier_uniform_(self.mix_channels.weight)
        nn.init.xavier_uniform_(self.mix_points.weight)

    def forward(self, sampled: Tensor, tokens: Tensor) -> Tensor:
        """Decodes ``(B, N, P, C)`` samples of ``(B, N, dim)`` tokens to ``(B, N, dim)``."""
        x = F.gelu(self.mix_channels(sampled)).transpose(-1, -2)  # (B, N, C, P)
        x = F.gelu(self.mix_points(x)).transpose(-1, -2)  # (B, N, P, C)
        return self.project(x.flatten(2))


class LinearDecoding(nn.Module):
    """Projects all samples of a token at once.

    Args:
        dim: Channels of a token.
        channels: Channels ``C`` of a sampled point.
        num_points: Points ``P`` of a token.
    """

    def __init__(self, dim: int, channels: int, num_points: int) -> None:
        super().__init__()
        self.project = nn.Linear(num_points * channels, dim)

    def init_weights(self) -> None:
        """No initialisation beyond that of all linear layers."""

    def forward(self, sampled: Tensor, tokens: Tensor) -> Tensor:
        """Decodes ``(B, N, P, C)`` samples of ``(B, N, dim)`` tokens to ``(B, N, dim)``."""
        return self.project(sampled.flatten(2))


DECODERS = dict(adaptive=AdaptiveMixing, static=StaticMixing, linear=LinearDecoding)
