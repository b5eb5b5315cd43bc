"""NL I3D: a ResNet inflated along time, with non-local blocks."""

from mmcv.cnn import NonLocal3d
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from projects.peers.bottleneck3d import bottlenecks, conv3d, stage_depths

WIDTHS = 64, 128, 256, 512
# Blocks with a temporal kernel, stage by stage.
TEMPORAL = (0, 1, 2), (0, 2), (0, 2, 4), (1,)
# Blocks that a non-local one follows, stage by stage: five in all.
NON_LOCAL = {50: ((), (1, 3), (1, 3, 5), ()), 101: ((), (1, 3), (6, 13, 20), ())}


class PooledNonLocal(NonLocal3d):
    """A non-local block that pools what it attends to beforehand (section 3.3 of the paper).

    It starts as the identity.

    Args:
        channels: Of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, mode='embedded_gaussian')
        self.g = nn.Sequential(nn.MaxPool3d((1, 2, 2)), self.g)
        self.phi = nn.Sequential(nn.MaxPool3d((1, 2, 2)), self.phi)


@MODELS.register_module()
class NLI3D(BaseModule):
    """I3D with five non-local blocks, as a classifier.

    Source of the method: Non-local Neural Networks (Wang et al., CVPR 2018,
    https://arxiv.org/abs/1711.07971), on ResNets inflated as in its section 4: half of the time is
    left after the first convolution, a quarter after the pooling behind it, an eighth after the
    first stage.

    Args:
        depth: Of the ResNet, 50 or 101. Defaults to 101.
        num_classes: Classes. Defaults to 400.
        init_cfg: Initialisation. Defaults to None.

    Raises:
        BadInputError: The depth is another.
    """

    def __init__(
        self, depth: int = 101, num_classes: int = 400, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.stem = nn.Sequential(
            conv3d(3, 64, (5, 7, 7), (2, 2, 2)),
            nn.MaxPool3d(kernel_size=3, stride=2, padding=1),
        )
        self.pool = nn.MaxPool3d((2, 1, 1))  # of time, after the first stage
        self.stages = nn.ModuleList()
        inputs = 64
        for i, blocks in enumerate(stage_depths(depth)):
            stage = nn.Sequential()
            stride = 2 if i else 1
            for j, block in enumerate(bottlenecks(inputs, WIDTHS[i], blocks, stride, TEMPORAL[i])):
                stage.append(block)
                if j in NON_LOCAL[depth][i]:
                    stage.append(PooledNonLocal(4 * WIDTHS[i]))
            self.stages.append(stage)
            inputs = 4 * WIDTHS[i]
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """``(B, 3, T, H, W)`` clips -> ``(B, classes)`` logits."""
        x = self.stem(clips)  # (B, 64, T / 4, H / 4, W / 4)
        x = self.pool(self.stages[0](x))  # (B, 256, T / 8, H / 4, W / 4)
        for stage in self.stages[1:]:
            x = stage(x)
        return self.head(x.mean(dim=(2, 3, 4)))  # from (B, 2048, T / 8, H / 32, W / 32)
