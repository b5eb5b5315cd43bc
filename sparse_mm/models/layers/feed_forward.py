"""The feed-forward network of a transformer block, with mmcv's parameter names."""

from mmcv.cnn import build_activation_layer
from mmcv.cnn.bricks.drop import build_dropout
from torch import Tensor, nn

from sparse_mm.models.layers.linear import Linear


class FeedForward(nn.Module):
    """Two linear layers with an activation between, added to their input.

    Args:
        embed_dims: Channels ``C``.
        hidden_dims: Channels between the two layers.
        act_cfg: Activation.
        drop_rate: Dropout after each layer.
        drop_path_rate: Stochastic depth, drawn for each entry of the first dimension.
    """

    def __init__(
        self,
        embed_dims: int,
        hidden_dims: int,
        act_cfg: dict,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.hidden_dims = hidden_dims
        widen = nn.Sequential(
            Linear(embed_dims, hidden_dims), build_activation_layer(act_cfg), nn.Dropout(drop_rate)
        )
        self.layers = nn.Sequential(widen, Linear(hidden_dims, embed_dims), nn.Dropout(drop_rate))
        self.drop_path = build_dropout(dict(type='DropPath', drop_prob=drop_path_rate))

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """Computes ``identity + network(x)``, both ``(B, L, C)``."""
        return identity + self.drop_path(self.layers(x))
