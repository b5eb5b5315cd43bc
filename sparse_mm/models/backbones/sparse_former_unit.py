"""A unit of SparseFormer: attention among tokens, sampling of the image or clip, an FFN."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparse_mm.models.backbones.sparse_former_constants import CONSTANTS, Constants
from sparse_mm.models.layers.adaptive_mixing import DECODERS
from sparse_mm.models.layers.attention import attention
from sparse_mm.models.layers.precision import at_least_float32
from sparse_mm.models.layers.rois import (
    adjust_rois,
    grid_offsets,
    hold_ends,
    sample_features,
    sampling_points,
    time_offsets,
)


def drop_path(x: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth: drops ``(B, N, C)`` for whole images, and scales the others up."""
    if not training or rate == 0:
        return x
    kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= rate
    return x * (kept.to(x.dtype) / (1 - rate))


def rising_rates(last: float, count: int) -> list[float]:
    """Stochastic depth of each unit: from 0 at the first to ``last``."""
    return [last * i / max(1, count - 1) for i in range(count)]


def init_from_scratch(model: nn.Module) -> None:
    """Initialises linear layers as in transformers, then modules with their own methods."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        own: Any = getattr(module, 'init_weights', None)
        if module is not model and own is not None:
            own()


class SelfAttention(nn.Module):
    """Attention of all tokens to all tokens.

    Args:
        dim: Channels of a token.
        num_heads: Heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, dim)`` -> ``(B, N, dim)``."""
        batch, count, dim = tokens.shape
        qkv = self.qkv(tokens).view(batch, count, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # (B, heads, N, dim / heads) each
        x = attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, count, dim))


class PointSampler(nn.Module):
    """Computes the sampling points in the RoIs of tokens (SparseFormer, section 3.2).

    Args:
        dim: Channels of a token.
        num_points: Points ``P`` that each token samples.
        norm_epsilon: Of the tokens' normalisation.
        spread_epsilon: Added to the points' standard deviation.
        axes: Dimensions ``D`` of a RoI: 2 in an image, 3 in a clip.
        spreads_time: Whether points in a clip start spread over the time of their RoI.
    """

    def __init__(
        self,
        dim: int,
        num_points: int,
        norm_epsilon: float = 1e-6,
        spread_epsilon: float = 1e-7,
        axes: int = 2,
        spreads_time: bool = True,
    ) -> None:
        super().__init__()
        self.axes = axes
        self.spread_epsilon = spread_epsilon
        self.offset_norm = nn.LayerNorm(dim, eps=norm_epsilon)
        self.offset = nn.Linear(dim, axes * num_points, bias=False)
        offsets = grid_offsets(num_points)
        if axes == 3:
            # Equal times would have a standard deviation of 0. Divided by it, the gradient of time
            # would be a thousand times that of x, and one step would spread the points over their
            # whole RoI.
            times = time_offsets(num_points) if spreads_time else torch.zeros(num_points)
            offsets = torch.cat([offsets, times.unsqueeze(-1)], dim=-1)
        self.offset_bias = nn.Parameter(offsets)

    def init_weights(self) -> None:
        """Initialises near a regular grid of points in each RoI, for all tokens."""
        nn.init.constant_(self.offset_norm.weight, self.offset_norm.weight.numel() ** -0.5)

    def forward(self, tokens: Tensor, rois: Tensor) -> Tensor:
        """``(B, N, dim)`` tokens with ``(B, N, 2D)`` RoIs -> ``(B, N, P, D)`` points."""
        offsets = self.offset(self.offset_norm(tokens)).unflatten(-1, (-1, self.axes))
        offsets = at_least_float32(offsets) + self.offset_bias
        return sampling_points(rois, offsets, self.spread_epsilon)


class RoISampler(PointSampler):
    """Samples points, and also moves the tokens' RoIs.

    Args:
        dim: Channels of a token.
        num_points: Points that each token samples.
        spread_epsilon: Added to the points' standard deviation.
        axes: Dimensions of a RoI: 2 in an image, 3 in a clip.
        spreads_time: Whether points in a clip start spread over the time of their RoI.
    """

    def __init__(
        self,
        dim: int,
        num_points: int,
        spread_epsilon: float = 1e-7,
        axes: int = 2,
        spreads_time: bool = True,
    ) -> None:
        super().__init__(
            dim, num_points, spread_epsilon=spread_epsilon, axes=axes, spreads_time=spreads_time
        )
        self.adjust_norm = nn.LayerNorm(dim, eps=1e-6)
        self.adjust = nn.Linear(dim, 2 * axes, bias=False)

    def init_weights(self) -> None:
        """Initialises so that the RoIs do not move."""
        super().init_weights()
        nn.init.constant_(self.adjust_norm.weight, self.adjust_norm.weight.numel() ** -0.5)
        nn.init.zeros_(self.adjust.weight)


class SparseFormerUnit(nn.Module):
    """One unit, repeated once for each rate of stochastic depth, with shared weights.

    Args:
        dim: Channels of a token.
        num_heads: Attention heads.
        mlp_ratio: Hidden channels of the FFN over ``dim``.
        drop_path_rates: Stochastic depth of each run.
        focuses: Whether the unit adjusts RoIs and samples the features.
        channels: Channels of the features.
        num_points: Points that a token samples.
        decoding: Name of the decoder of the samples.
        with_cp: Whether to compute each run again in the backward pass.
        axes: Dimensions of a RoI: 2 in an image, 3 in a clip.
        constants: Numerical constants.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        drop_path_rates: Sequence[float],
        focuses: bool,
        channels: int,
        num_points: int,
        decoding: str,
        with_cp: bool,
        axes: int = 2,
        constants: Constants = CONSTANTS['training'],
    ) -> None:
        super().__init__()
        self.drop_path_rates = tuple(drop_path_rates)
        self.with_cp = with_cp
        self.clamps = constants.clamps
        self.holds_ends = axes == 3 and constants.holds_ends
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, num_heads)
        self.sampler: RoISampler | None = None
        self.mixing: nn.Module | None = None
        if focuses:
            self.sampler = RoISampler(
                dim, num_points, constants.spread_epsilon, axes, constants.spreads_time
            )
            epsilon = dict(epsilon=constants.mixing_epsilon) if decoding == 'adaptive' else {}
            self.mixing = DECODERS[decoding](dim, channels, num_points, **epsilon)
        hidden = int(mlp_ratio * dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(
        self, tokens: Tensor, rois: Tensor, features: Tensor, loss_scale: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Runs the unit.

        Args:
            tokens: ``(B, N, dim)``.
            rois: ``(B, N, 4)``, of a clip ``(B, N, 6)``.
            features: ``(B, C, H, W)`` of the image, of a clip ``(B, C, T, H, W)``.
            loss_scale: See :func:`~sparse_mm.models.layers.rois.sample_features`.

        Returns:
            The tokens and RoIs.
        """
        for rate in self.drop_path_rates:
            if self.with_cp and torch.is_grad_enabled():
                tokens, rois = checkpoint(
                    self._run, tokens, rois, features, loss_scale, rate, use_reentrant=False
                )
            else:
                tokens, rois = self._run(tokens, rois, features, loss_scale, rate)
        return tokens, rois

    def _run(
        self,
        tokens: Tensor,
        rois: Tensor,
        features: Tensor,
        loss_scale: Tensor | None,
        rate: float,
    ) -> tuple[Tensor, Tensor]:
        def drop(x: Tensor) -> Tensor:
            return drop_path(x, rate, self.training)

        tokens = tokens + drop(self.attn(self.norm1(tokens)))
        if self.sampler is not None and self.mixing is not None:
            deltas = self.sampler.adjust(self.sampler.adjust_norm(tokens))
            rois = adjust_rois(rois, drop(deltas))
            points = self.sampler(tokens, rois)  # (B, N, P, 2), of a clip (B, N, P, 3)
            if self.holds_ends:
                points = hold_ends(points, features.shape[2])
            sampled = sample_features(
                features, points, clamp=self.clamps, loss_scale=loss_scale
            )  # (B, N, P, C)
            tokens = tokens + drop(self.mixing(sampled, tokens))
        return tokens + drop(self.ffn(self.norm2(tokens))), rois
