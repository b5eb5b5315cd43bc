"""From latent tokens back to maps: the neck between SparseFormer and dense heads."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models.layers.roi_attention import RoIAttention


@MODELS.register_module()
class LatentToPyramid(BaseModule):
    """Turns tokens, RoIs and an early feature map into a pyramid of maps.

    SparseFormer (Gao et al., ICLR 2024) is for image classification; no dense form has been
    released. This neck replaces an FPN. Its inputs are the outputs of
    ``SparseFormer(out_type='tokens')``.

    1. **Local features.** The early map contains edges and textures. Convolutions of stride 2 with
       the same number of channels compute a map for every level.
    2. **Attention.** At strides of ``ask_stride`` and more each position attends to all
       tokens: see :class:`RoIAttention`. A finer level uses the upsampled output of the next
       coarser one: tokens describe the content and its rough position, local features the exact
       position.
    3. **Sum.** The sum of local and attended features, each after a linear layer.

    An alternative, in which tokens paste patches of features into their RoIs, had the same mAP on
    the generated scenes, but learned more slowly and costs more at the size of COCO
    (docs/results.md).

    Args:
        in_channels: Channels of a token.
        feature_channels: Channels of the early map. Defaults to 96.
        out_channels: Channels of each map. Defaults to 256.
        strides: Strides of the maps, each twice the one before; the first may be that of the early
            map or more. Defaults to (4, 8, 16, 32).
        feature_stride: Stride of the early map. Defaults to 4.
        ask_stride: The finest stride whose positions attend to the tokens. Defaults to 8.
        num_heads: Heads of the attention. Defaults to 8.
        norm_cfg: Normalisation of local features. Defaults to dict(type='GN', num_groups=8).
        init_cfg: See ``BaseModule``. Defaults to None.

    Raises:
        BadInputError: The strides are not such a series, or ``out_channels`` is not divisible by
            the heads.
    """

    def __init__(
        self,
        in_channels: int,
        feature_channels: int = 96,
        out_channels: int = 256,
        strides: Sequence[int] = (4, 8, 16, 32),
        feature_stride: int = 4,
        ask_stride: int = 8,
        num_heads: int = 8,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        series = [feature_stride * 2**i for i in range(16)]
        if (
            not strides
            or list(strides) != [strides[0] * 2**i for i in range(len(strides))]
            or strides[0] not in series
        ):
            raise BadInputError(
                f'strides of LatentToPyramid must start at {feature_stride} (the early map) or a '
                f'power of two times it, and double from map to map, not {list(strides)}.'
            )
        if strides[-1] < ask_stride:
            raise BadInputError(
                f'The coarsest stride {strides[-1]} must be at least ask_stride '
                f'({ask_stride}), or no map would attend to the tokens.'
            )
        if out_channels % num_heads:
            raise BadInputError(
                f'out_channels {out_channels} is not divisible by {num_heads} heads; set num_heads.'
            )
        self.strides = tuple(strides)
        self.ask_stride = ask_stride
        norm = norm_cfg or dict(type='GN', num_groups=8)
        self.local = nn.ModuleList()
        self.ask = nn.ModuleList()
        self.lateral = nn.ModuleList()
        # Steps from the early map to the first level come first.
        self.steps = [stride for stride in series if stride <= strides[-1]]
        for stride in self.steps:
            self.local.append(
                ConvModule(
                    feature_channels,
                    feature_channels,
                    kernel_size=3,
                    stride=1 if stride == feature_stride else 2,
                    padding=1,
                    norm_cfg=norm,
                )
            )
        for stride in self.strides:
            self.lateral.append(nn.Conv2d(feature_channels, out_channels, kernel_size=1))
            if stride >= ask_stride:
                self.ask.append(
                    RoIAttention(in_channels, feature_channels, out_channels, num_heads)
                )

    def init_weights(self) -> None:
        """Initialises convolutions as ``ConvModule`` does, then the attention."""
        super().init_weights()
        for attend in self.ask:
            assert isinstance(attend, RoIAttention)
            attend.init_weights()

    def forward(self, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Builds the pyramid.

        Args:
            inputs: Tokens ``(B, N, in_channels)``, RoIs ``(B, N, 4)`` and the early map
                ``(B, feature_channels, H, W)``.

        Returns:
            A map ``(B, out_channels, H', W')`` for each stride, the finest first.
        """
        tokens, rois, x = inputs
        local = []
        for stride, convolve in zip(self.steps, self.local, strict=True):
            x = convolve(x)
            if stride in self.strides:
                local.append(x)
        attended: list[Tensor] = []
        for level, attend in zip(reversed(local), reversed(self.ask), strict=False):
            read = attend(level.permute(0, 2, 3, 1), tokens, rois)  # (B, H', W', out_channels)
            attended.insert(0, read.permute(0, 3, 1, 2))
        for level in reversed(local[: -len(attended)]):
            size = level.shape[-2:]
            enlarged = F.interpolate(attended[0], size=size, mode='bilinear', align_corners=False)
            attended.insert(0, enlarged)
        return tuple(
            lateral(x) + read
            for lateral, x, read in zip(self.lateral, local, attended, strict=True)
        )
