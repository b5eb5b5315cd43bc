"""SlowFast: a wide network on few frames and a narrow one on many."""

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from projects.peers.bottleneck3d import Triple, bottlenecks, conv3d, stage_depths
from sparse_mm.errors import BadInputError

WIDTHS = 64, 128, 256, 512
# Of the third stage the first blocks alone look along time, "R101_50_50" in the authors' configs.
SIX = range(6)
SLOW_TEMPORAL = (), (), SIX, SIX
FAST_TEMPORAL = SIX, SIX, SIX, SIX


def _stem(channels: int, frames: int) -> nn.Sequential:
    kernel: Triple = (frames, 7, 7)
    return nn.Sequential(
        conv3d(3, channels, kernel, (1, 2, 2)),
        nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
    )


@MODELS.register_module()
class SlowFast(BaseModule):
    """SlowFast on ResNets, as a classifier.

    Source of the method: SlowFast Networks for Video Recognition (Feichtenhofer et al., ICCV 2019,
    https://arxiv.org/abs/1812.03982), table 1, with 8 frames on the slow pathway and 32 on the
    fast one. Behind the stem and each stage but the last, a convolution along time brings the fast
    pathway's channels to the slow one.

    Args:
        depth: Of both ResNets, 50 or 101. Defaults to 101.
        alpha: Frames of the fast pathway to one of the slow. Defaults to 4.
        beta: Channels of the slow pathway to one of the fast. Defaults to 8.
        fusion_frames: Frames of the kernel between the pathways. Defaults to 5.
        num_classes: Classes. Defaults to 400.
        init_cfg: Initialisation. Defaults to None.

    Raises:
        BadInputError: The depth is another.
    """

    def __init__(
        self,
        depth: int = 101,
        alpha: int = 4,
        beta: int = 8,
        fusion_frames: int = 5,
        num_classes: int = 400,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.alpha = alpha
        self.slow = nn.ModuleList([_stem(64, frames=1)])
        self.fast = nn.ModuleList([_stem(64 // beta, frames=5)])
        self.lateral = nn.ModuleList()
        inputs = 64
        for i, blocks in enumerate(stage_depths(depth)):
            few, stride = inputs // beta, 2 if i else 1
            self.lateral.append(conv3d(few, 2 * few, (fusion_frames, 1, 1), (alpha, 1, 1)))
            slow = bottlenecks(inputs + 2 * few, WIDTHS[i], blocks, stride, SLOW_TEMPORAL[i])
            fast = bottlenecks(few, WIDTHS[i] // beta, blocks, stride, FAST_TEMPORAL[i])
            self.slow.append(nn.Sequential(*slow))
            self.fast.append(nn.Sequential(*fast))
            inputs = 4 * WIDTHS[i]
        self.head = nn.Linear(inputs + inputs // beta, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, 3, T, H, W)`` clips, all frames of the fast pathway -> ``(B, classes)`` logits.

        Raises:
            BadInputError: The frames are no multiple of ``alpha``.
        """
        if clips.shape[2] % self.alpha:
            raise BadInputError(
                f'SlowFast needs a multiple of {self.alpha} frames, not {clips.shape[2]}.'
            )
        slow, fast = clips[:, :, :: self.alpha], clips
        for i, (slow_stage, fast_stage) in enumerate(zip(self.slow, self.fast, strict=True)):
            slow, fast = (
                slow_stage(slow),
                fast_stage(fast),
            )  # (B, C, T / alpha, …), (B, C / 8, T, …)
            if i < len(self.lateral):
                slow = torch.cat([slow, self.lateral[i](fast)], dim=1)
        return self.head(torch.cat([slow.mean(dim=(2, 3, 4)), fast.mean(dim=(2, 3, 4))], dim=1))
