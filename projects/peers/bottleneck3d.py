"""ResNet's bottleneck in space and time, of which NL I3D and SlowFast are built."""

from collections.abc import Collection

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from sparse_mm.errors import BadInputError

Triple = tuple[int, int, int]
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks of each stage of ResNet-50 and ResNet-101."""


def stage_depths(depth: int) -> tuple[int, ...]:
    """Blocks of each stage.

    Raises:
        BadInputError: There is no such ResNet here.
    """
    if depth not in DEPTHS:
        raise BadInputError(f'depth must be one of {", ".join(map(str, DEPTHS))}, not {depth}.')
    return DEPTHS[depth]


def conv3d(
    inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1), relu: bool = True
) -> ConvModule:
    """A convolution over time, height and width, padded to keep the size, with normalisation."""
    return ConvModule(
        inputs,
        outputs,
        kernel,
        stride,
        tuple(side // 2 for side in kernel),
        conv_cfg=dict(type='Conv3d'),
        norm_cfg=dict(type='BN3d'),
        act_cfg=dict(type='ReLU') if relu else None,
    )


class Bottleneck3d(nn.Module):
    """A bottleneck whose first convolution may look along time (I3D, Carreira & Zisserman, 2017).

    Args:
        inputs: Channels that come in.
        width: Channels inside.
        outputs: Channels that go out.
        frames: Of the first convolution's kernel, 1 or 3.
        stride: In space, of the second convolution.
    """

    def __init__(
        self, inputs: int, width: int, outputs: int, frames: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        self.reduce = conv3d(inputs, width, (frames, 1, 1))
        self.convolve = conv3d(width, width, (1, 3, 3), (1, stride, stride))
        self.expand = conv3d(width, outputs, (1, 1, 1), relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride > 1:
            self.shortcut = conv3d(inputs, outputs, (1, 1, 1), (1, stride, stride), relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, T, H, W)`` -> ``(B, outputs, T, H / stride, W / stride)``."""
        inner = self.expand(self.convolve(self.reduce(x)))
        return (inner + self.shortcut(x)).relu()


def bottlenecks(
    inputs: int, width: int, depth: int, stride: int, temporal: Collection[int]
) -> list[Bottleneck3d]:
    """The blocks of a stage.

    Args:
        inputs: Channels that come in.
        width: Channels inside; four times as many go out.
        depth: Blocks.
        stride: In space, of the first.
        temporal: Those that look along time, three frames at once.
    """
    return [
        Bottleneck3d(
            4 * width if i else inputs,
            width,
            4 * width,
            frames=3 if i in temporal else 1,
            stride=1 if i else stride,
        )
        for i in range(depth)
    ]
