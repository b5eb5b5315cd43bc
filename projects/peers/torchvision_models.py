"""torchvision's models, built from a config like all others."""

from typing import Any

import torchvision
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class TorchvisionModel(BaseModule):
    """A model of torchvision with fresh weights.

    Args:
        name: Its name there, such as ``'swin3d_t'`` or ``'mvit_v1_b'``.
        init_cfg: Initialisation. Defaults to None.
        **settings: Arguments of the model.
    """

    def __init__(self, name: str, init_cfg: dict | None = None, **settings: Any) -> None:
        super().__init__(init_cfg)
        self.model = torchvision.models.get_model(name, weights=None, **settings)

    def forward(self, inputs: Tensor) -> Any:
        """Images ``(B, 3, H, W)`` or clips ``(B, 3, T, H, W)`` -> what the model gives."""
        return self.model(inputs)
