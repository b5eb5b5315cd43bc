"""Positions of a map attend to latent tokens, by content and by the geometry of their RoIs."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_mm.models.layers.attention import attention
from sparse_mm.models.layers.precision import at_least_float32

SMALLEST = 1 / 128  # of the image: a smaller RoI counts as one of this side


def place_centres(
    height: int,
    width: int,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The centres of a map's positions, relative to the image: ``(height * width, 2)``, (x, y)."""
    y = (torch.arange(height, device=device, dtype=dtype) + 0.5) / height
    x = (torch.arange(width, device=device, dtype=dtype) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1).flatten(0, 1)


class RoIAttention(nn.Module):
    """Attention from positions to tokens, by content and geometry.

    Let ``u`` be a position relative to the centre of a token's RoI, in units of half its size. The
    position's attention to the token has the logit ``q · k + b - s |u|² / 2``: content, an
    importance ``b`` and a sharpness ``s``, both predicted from the token. So a position attends to
    the tokens whose RoIs cover it or are near it. An additional constant logit 0 with the value 0
    suppresses attention to tokens that are far away. The value of a token is ``v + v_x u_x + v_y
    u_y``, which can vary over its RoI. Both ``u`` and ``|u|²`` are polynomials of the position's
    coordinates, so geometry is a few more channels of queries, keys and values. The whole is plain
    attention with a cost linear in tokens × positions. It is computed in float32 at least, because
    the terms of the polynomials cancel.

    Args:
        token_dim: Channels of a token.
        place_dim: Channels of a position.
        dim: Channels of queries and outputs.
        num_heads: Heads.
    """

    def __init__(self, token_dim: int, place_dim: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(place_dim, dim)
        self.key = nn.Linear(token_dim, dim)
        self.value = nn.Linear(token_dim, 3 * dim)
        self.importance = nn.Linear(token_dim, num_heads)
        self.sharpness = nn.Linear(token_dim, num_heads)
        self.proj = nn.Linear(dim, dim)

    def init_weights(self) -> None:
        """Initialises with attention by geometry, well above the constant logit inside a RoI."""
        nn.init.constant_(self.importance.bias, 2.0)
        # softplus(4) = 4: at the RoI's edge the logit is lower by 2; outside, attention decreases
        # quickly.
        nn.init.constant_(self.sharpness.bias, 4.0)

    def forward(self, places: Tensor, tokens: Tensor, rois: Tensor) -> Tensor:
        """Attends.

        Args:
            places: ``(B, H, W, place_dim)``.
            tokens: ``(B, N, token_dim)``.
            rois: ``(B, N, 4)``, (x1, y1, x2, y2) relative to the image.

        Returns:
            The outputs, ``(B, H, W, dim)``.
        """
        height, width = places.shape[1:3]
        rois = at_least_float32(rois)
        query = self._heads(self.query(places).flatten(1, 2))  # (B, heads, P, d)
        key = self._heads(self.key(tokens))  # (B, heads, N, d)
        values = self._heads(self.value(tokens)).chunk(3, dim=-1)  # (B, heads, N, d) each
        importance = self.importance(tokens).transpose(1, 2)  # (B, heads, N)
        sharpness = F.softplus(self.sharpness(tokens)).transpose(1, 2)  # (B, heads, N)
        device = tokens.device.type
        known = torch.amp.is_autocast_available(device)  # not on the meta device
        with torch.autocast(device, enabled=False) if known else nullcontext():
            outputs = self._attend(
                at_least_float32(query) * query.shape[-1] ** -0.5,
                at_least_float32(key),
                [at_least_float32(value) for value in values],
                at_least_float32(importance),
                at_least_float32(sharpness),
                rois,
                place_centres(height, width, rois.device, rois.dtype),
            )  # (B, heads, P, d)
        outputs = outputs.to(query.dtype).transpose(1, 2).flatten(2)  # (B, P, dim)
        return self.proj(outputs).unflatten(1, (height, width))

    def _heads(self, x: Tensor) -> Tensor:
        """``(B, n, c)`` -> ``(B, heads, n, c / heads)``."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        values: list[Tensor],
        importance: Tensor,
        sharpness: Tensor,
        rois: Tensor,
        places: Tensor,
    ) -> Tensor:
        low, high = rois.unsqueeze(1).chunk(2, dim=-1)  # (B, 1, N, 2) each
        scale = 2 / (high - low).abs().clamp(min=SMALLEST)  # one over half the size
        centre = (low + high) / 2
        # logit = content + importance - s/2 Σ (scale (place - centre))², multiplied out.
        weight = sharpness.unsqueeze(-1) / 2 * scale**2  # (B, heads, N, 2)
        constant = importance - (weight * centre**2).sum(-1)
        key = torch.cat([key, -weight, 2 * weight * centre, constant.unsqueeze(-1)], dim=-1)
        ones = torch.ones_like(places[:, :1])
        polynomial = torch.cat([places**2, places, ones], dim=-1)  # (P, 5)
        query = torch.cat([query, polynomial.expand(*query.shape[:2], -1, -1)], dim=-1)
        # output = v + Σ v_xy scale (place - centre), multiplied out.
        slopes = [value * scale[..., axis, None] for axis, value in enumerate(values[1:])]
        level = values[0] - sum(slope * centre[..., i, None] for i, slope in enumerate(slopes))
        value = torch.cat([level, *slopes], dim=-1)  # (B, heads, N, 3d)
        # The constant logit 0 with the value 0.
        key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
        output = attention(query, key, value, scale=1.0)
        level, slope_x, slope_y = output.chunk(3, dim=-1)  # (B, heads, P, d) each
        return level + slope_x * places[:, :1] + slope_y * places[:, 1:]
