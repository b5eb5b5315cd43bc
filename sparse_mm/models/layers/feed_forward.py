"""The feed-forward network of a transformer block, with mmcv's parameter names."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.utils.checkpoint import checkpoint

from sparse_mm.models.layers.linear import Linear, linear


class FeedForward(nn.Module):
    """Two linear layers with an activation between, added to their input.

    Args:
        embed_dims: Channels ``C``.
        hidden_dims: Channels between the two layers.
        activation: The activation.
        drop_rate: Dropout after each layer.
        drop_path: Applied to what is added to the input; None for nothing.
    """

    def __init__(
        self,
        embed_dims: int,
        hidden_dims: int,
        activation: nn.Module,
        drop_rate: float = 0.0,
        drop_path: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.hidden_dims = hidden_dims
        widen = nn.Sequential(Linear(embed_dims, hidden_dims), activation, nn.Dropout(drop_rate))
        self.layers = nn.Sequential(widen, Linear(hidden_dims, embed_dims), nn.Dropout(drop_rate))
        self.drop_path = drop_path or nn.Identity()

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """Computes ``identity + network(x)``, both ``(B, L, C)``."""
        widen, activation, drop = self._first
        if not torch.is_grad_enabled():
            gelu = isinstance(activation, nn.GELU) and activation.approximate == 'none'
            x = linear(x, widen.weight, widen.bias, gelu)  # (B, L, hidden_dims)
            x = self._narrow(drop(x)) if gelu else self._activate_and_narrow(x)
        elif is_compiling() or torch.jit.is_tracing():
            x = self._activate_and_narrow(widen(x))
        else:
            # The activation's output is as large as its input and quickly had again, so the
            # backward pass computes it anew (and, stopping early, nothing after it).
            x = checkpoint(
                self._activate_and_narrow,
                widen(x),
                use_reentrant=False,
                preserve_rng_state=drop.p > 0,
            )
        return identity + self.drop_path(x)

    def _activate_and_narrow(self, hidden: Tensor) -> Tensor:
        _, activation, drop = self._first
        return self._narrow(drop(activation(hidden)))

    def _narrow(self, hidden: Tensor) -> Tensor:
        return self.layers[2](self.layers[1](hidden))

    @property
    def _first(self) -> Any:
        """The first linear layer, its activation and its dropout."""
        return self.layers[0]
