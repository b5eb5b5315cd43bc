"""Shallow feature maps for latent tokens to sample from (SparseFormer, section 3.1 and table 5)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models.layers.precision import at_least_float32

EPSILON = 1e-7


def normalise_channels(x: Tensor, unbiased: bool = True, epsilon: float = EPSILON) -> Tensor:
    """Normalises ``(B, C, H, W)`` over its channels, without learnt scale or shift.

    Computation and output are in float32 at least.

    Args:
        x: The map.
        unbiased: Whether the variance divides by one less than the channels.
        epsilon: Added to the variance.
    """
    x = at_least_float32(x)
    count = x.shape[1]
    if count > 1 and x.is_contiguous(memory_format=torch.channels_last):
        # A layer norm reads each row once. Its variance divides by all channels.
        share = 1 - 1 / count if unbiased else 1.0
        weight = x.new_full((count,), share**0.5)
        rows = F.layer_norm(x.permute(0, 2, 3, 1), (count,), weight, None, epsilon * share)
        return rows.permute(0, 3, 1, 2)
    variance, mean = torch.var_mean(x, dim=1, unbiased=unbiased, keepdim=True)
    return (x - mean) / (variance + epsilon).sqrt()


def check_image_size(images: Tensor, stride: int) -> None:
    """Checks that images ``(B, 3, H, W)`` are large enough for a feature map of this stride.

    Raises:
        BadInputError: They are too small.
    """
    if min(images.shape[-2:]) < stride:
        raise BadInputError(
            f'An image of {tuple(images.shape[-2:])} pixels is smaller than the stride {stride} of '
            'the image features.'
        )


def check_clip_size(clips: Tensor, stride: int) -> None:
    """Checks that clips have a frame, and frames that are not smaller than the stride.

    Raises:
        BadInputError: They are no clips ``(B, 3, T, H, W)``, or too small.
    """
    if clips.dim() != 5:
        raise BadInputError(
            f'Clips must come as (B, 3, T, H, W), not as {tuple(clips.shape)}; a single image is a '
            'clip with T = 1.'
        )
    if clips.shape[2] < 1:
        raise BadInputError('A clip must have at least one frame, and this one has none.')
    check_image_size(clips, stride)


def frame_features(stem: nn.Module, clips: Tensor) -> Tensor:
    """Applies an image's stem to every frame: ``(B, 3, T, H, W)`` -> ``(B, C, T, H', W')``."""
    batch, _, frames = clips.shape[:3]
    images = clips.transpose(1, 2).flatten(0, 1)  # (B * T, 3, H, W)
    # Channels last, because the sampling reads all channels of a position.
    features = stem(images.contiguous(memory_format=torch.channels_last))  # (B * T, C, H', W')
    return features.unflatten(0, (batch, frames)).transpose(1, 2)


class EarlyConvolution(nn.Module):
    """A convolution with stride 2, ReLU, max-pooling: 1/4 of the image's size.

    Args:
        channels: Channels of the map.
        unbiased: See :func:`normalise_channels`.
        epsilon: See :func:`normalise_channels`.
    """

    stride = 4

    def __init__(self, channels: int = 96, unbiased: bool = True, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.channels, self.unbiased, self.epsilon = channels, unbiased, epsilon
        self.conv = nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3)

    def init_weights(self) -> None:
        """He's initialisation."""
        nn.init.kaiming_normal_(self.conv.weight, mode='fan_out', nonlinearity='relu')
        _zero_bias(self.conv)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` -> ``(B, channels, H / 4, W / 4)``."""
        # The ReLU comes after the pooling, where the map is a quarter as large: it is the same.
        x = F.relu(F.max_pool2d(self.conv(images), kernel_size=3, stride=2, padding=1))
        return normalise_channels(x, self.unbiased, self.epsilon).to(images.dtype)


class PatchFeatures(nn.Module):
    """The patch embedding of a Vision Transformer.

    Args:
        channels: Channels of the map.
        patch_size: Side of a patch in pixels.
    """

    def __init__(self, channels: int = 96, patch_size: int = 8) -> None:
        super().__init__()
        self.channels, self.stride = channels, patch_size
        self.conv = nn.Conv2d(3, channels, kernel_size=patch_size, stride=patch_size)

    def init_weights(self) -> None:
        """Xavier's initialisation of the patches as vectors."""
        nn.init.xavier_uniform_(self.conv.weight.flatten(1))
        _zero_bias(self.conv)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` -> ``(B, channels, H / 8, W / 8)``."""
        return normalise_channels(self.conv(images)).to(images.dtype)


class RGBFeatures(nn.Module):
    """The image itself.

    Args:
        channels: The image's.
    """

    stride = 1

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels

    def init_weights(self) -> None:
        """Nothing is learnt."""

    def forward(self, images: Tensor) -> Tensor:
        """Returns the images unchanged."""
        return images


def _zero_bias(conv: nn.Conv2d) -> None:
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """The residual block of ResNet-50 (He et al., CVPR 2016).

    Args:
        inputs: Channels that come in.
        width: Channels inside.
    """

    def __init__(self, inputs: int, width: int = 64) -> None:
        super().__init__()
        outputs = 4 * width
        self.reduce = _convolution(inputs, width, 1)
        self.convolve = _convolution(width, width, 3)
        self.expand = _convolution(width, outputs, 1)
        self.shortcut = _convolution(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` -> ``(B, 4 * width, H, W)``."""
        inner = self.expand(F.relu(self.convolve(F.relu(self.reduce(x)))))
        return F.relu(inner + self.shortcut(x))


class ResNetC2(nn.Module):
    """The first convolution and the first stage of ResNet-50, projected to fewer channels.

    Args:
        channels: Channels of the map.
    """

    stride = 4

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.channels = channels
        self.conv = _convolution(3, 64, 7, stride=2)
        self.blocks = nn.Sequential(Bottleneck(64), Bottleneck(256), Bottleneck(256))
        self.project = nn.Conv2d(256, channels, 1)

    def init_weights(self) -> None:
        """He's initialisation."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` -> ``(B, channels, H / 4, W / 4)``."""
        x = F.relu(F.max_pool2d(self.conv(images), kernel_size=3, stride=2, padding=1))
        return normalise_channels(self.project(self.blocks(x))).to(images.dtype)


IMAGE_FEATURES: dict[str, Callable[..., nn.Module]] = dict(
    early_conv=EarlyConvolution, vit_embed=PatchFeatures, resnet_c2=ResNetC2, rgb=RGBFeatures
)
