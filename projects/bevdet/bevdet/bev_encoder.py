"""The encoder of the BEV map, and the fusion of two levels, which is also used for images.

BEVDet (Huang et al., 2021, section 3.1): a small residual network, and a feature pyramid that joins
its finest and its coarsest map.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.backbones.resnet import BasicBlock
from mmdet.models.layers import ResLayer
from mmengine.model import BaseModule, Sequential
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class BEVResNet(BaseModule):
    """Residual stages of basic blocks, each at half the resolution of the one before.

    Args:
        in_channels: Channels of the map of the ground.
        channels: Channels of each stage.
        depths: Blocks of each stage.
        out_indices: Stages whose maps are returned.
        norm_cfg: Normalisation layers. Defaults to BN.
        init_cfg: Initialisation. Defaults to None.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        depths: Sequence[int],
        out_indices: Sequence[int],
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_indices = tuple(out_indices)
        self.stages = nn.ModuleList()
        for width, depth in zip(channels, depths, strict=True):
            norm = norm_cfg or dict(type='BN')
            self.stages.append(
                ResLayer(BasicBlock, in_channels, width, depth, stride=2, norm_cfg=norm)
            )
            in_channels = width

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Computes the maps of ``out_indices``.

        Args:
            x: ``(B, in_channels, Y, X)``.

        Returns:
            ``(B, channels[i], Y / 2**(i + 1), X / 2**(i + 1))`` for each.
        """
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)


@MODELS.register_module()
class LSSFPN(BaseModule):
    """Joins a fine and a coarse map at the fine one's resolution, or above it.

    Args:
        in_channels: Channels of the fine and of the coarse map.
        out_channels: Channels of the joined map.
        upsample: How many times finer than the fine map the joined one shall be. Defaults to 1.
        norm_cfg: Normalisation layers. Defaults to BN.
        init_cfg: Initialisation. Defaults to None.
    """

    def __init__(
        self,
        in_channels: tuple[int, int],
        out_channels: int,
        upsample: int = 1,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or dict(type='BN')
        inner = out_channels * (2 if upsample > 1 else 1)

        def conv(channels: int, width: int) -> ConvModule:
            return ConvModule(channels, width, 3, padding=1, norm_cfg=norm_cfg)

        self.fuse = Sequential(conv(sum(in_channels), inner), conv(inner, inner))
        self.refine: nn.Module = nn.Identity()
        if upsample > 1:
            self.refine = Sequential(
                nn.Upsample(scale_factor=upsample, mode='bilinear'),
                conv(inner, out_channels),
                nn.Conv2d(out_channels, out_channels, 1),
            )

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Joins the first and the last map.

        Args:
            feats: ``(B, C_i, H_i, W_i)``, from fine to coarse.

        Returns:
            ``(B, out_channels, upsample * H_0, upsample * W_0)``.
        """
        fine, coarse = feats[0], feats[-1]
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode='bilinear')
        return self.refine(self.fuse(torch.cat([fine, coarse], dim=1)))
