"""The feed-forward network of a transformer block, with mmcv's parameter names."""

from torch import Tensor, nn


class FeedForward(nn.Module):
    """Two linear layers with an activation between, added to their input.

    mmcv's ``FFN`` is the same, but its linear layers are of another class, which tools that search
    for ``nn.Linear`` (such as dynamic quantisation) do not find.

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
        widen = nn.Sequential(nn.Linear(embed_dims, hidden_dims), activation, nn.Dropout(drop_rate))
        self.layers = nn.Sequential(
            widen, nn.Linear(hidden_dims, embed_dims), nn.Dropout(drop_rate)
        )
        self.drop_path = drop_path or nn.Identity()

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """Computes ``identity + network(x)``, both ``(B, L, C)``."""
        return identity + self.drop_path(self.layers(x))
