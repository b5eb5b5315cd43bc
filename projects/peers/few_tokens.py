"""Dense networks with as few tokens as SparseFormer: their last map is 7×7."""

from collections.abc import Callable

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from projects.peers.inputs import check_shape
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT
from sparse_mm.models.backbones.sparse_former_unit import SparseFormerUnit, init_from_scratch
from sparse_mm.models.layers.image_features import EarlyConvolution

NARROW, WIDE = 256, 512  # SparseFormer-T's widths
REPEATS, DEPTH, HEADS = 4, 8, 64
SIDE, TOKENS = 224, 49


def patches() -> nn.Module:
    """ViT/32: patches of 32 pixels."""
    return nn.Conv2d(3, NARROW, kernel_size=32, stride=32)


def early_patches() -> nn.Module:
    """ViT/32*: the early convolution, then patches of 8 of its places, which are 32 pixels."""
    stem = EarlyConvolution()
    return nn.Sequential(stem, nn.Conv2d(stem.channels, NARROW, kernel_size=8, stride=8))


def convolutions() -> nn.Module:
    """conv×4: the early convolution, then four of 3×3, three of which halve the map."""
    layers: list[nn.Module] = [EarlyConvolution()]
    channels = layers[0].channels
    for width, stride in ((96, 1), (192, 2), (384, 2), (NARROW, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU()]
        channels = width
    return nn.Sequential(*layers)


class SwinTokens(nn.Module):
    """swin: three stages of a narrow Swin, then patches of 2 of its places, which are 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.swin = SparseViT(
            embed_dims=48,
            depths=(2, 2, 2),
            num_heads=(3, 6, 12),
            strides=(4, 2, 2),
            out_indices=(2,),
        )
        self.merge = nn.Conv2d(self.swin.num_features[-1], NARROW, kernel_size=2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, 224, 224)`` -> ``(B, 256, 7, 7)``."""
        return self.merge(self.swin(images)[0])


TOKENIZERS: dict[str, Callable[[], nn.Module]] = dict(
    patches=patches, early_patches=early_patches, convolutions=convolutions, swin=SwinTokens
)


@MODELS.register_module()
class FewTokens(BaseModule):
    """SparseFormer-T's units on 7×7 tokens that a dense network makes, as a classifier.

    SparseFormer (Gao et al., ICLR 2024) compares its latent tokens with four such networks. The
    paper gives their names, accuracies and GFLOPs; how they are built is read from these: the units
    are those of SparseFormer-T without sampling, and widths are such that the counts agree.

    Args:
        tokenizer: ``'patches'`` (ViT/32), ``'early_patches'`` (ViT/32*), ``'convolutions'``
            (conv×4) or ``'swin'``.
        num_classes: Classes. Defaults to 1000.
        init_cfg: Initialisation. Defaults to None.

    Raises:
        BadInputError: There is no such tokenizer.
    """

    def __init__(
        self, tokenizer: str, num_classes: int = 1000, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        if tokenizer not in TOKENIZERS:
            raise BadInputError(
                f'tokenizer must be one of {", ".join(TOKENIZERS)}, not {tokenizer!r}.'
            )
        self.tokenizer = TOKENIZERS[tokenizer]()
        self.position = nn.Parameter(torch.randn(TOKENS, NARROW) * 0.02)
        self.focusing = self._unit(NARROW, REPEATS)  # shared weights, as in SparseFormer
        self.transition = nn.Sequential(nn.Linear(NARROW, WIDE), nn.LayerNorm(WIDE, eps=1e-6))
        self.cortex = nn.ModuleList(self._unit(WIDE) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDE, eps=1e-6)
        self.head = nn.Linear(WIDE, num_classes)

    @staticmethod
    def _unit(dim: int, repeats: int = 1) -> SparseFormerUnit:
        """A unit that does not sample; what it would sample has no size."""
        return SparseFormerUnit(
            dim,
            num_heads=HEADS,
            mlp_ratio=4,
            drop_path_rates=[0.0] * repeats,
            focuses=False,
            channels=0,
            num_points=0,
            decoding='adaptive',
            with_cp=False,
        )

    def init_weights(self) -> None:
        """Starts from scratch."""
        init_from_scratch(self)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, 224, 224)`` images -> ``(B, classes)`` logits.

        Raises:
            BadInputError: The images have another size.
        """
        check_shape(images, (3, SIDE, SIDE), 'model of few tokens')
        features = self.tokenizer(images)  # (B, 256, 7, 7)
        tokens = features.flatten(2).transpose(1, 2) + self.position  # (B, 49, 256)
        rois = tokens[..., :4]  # units that do not sample pass them through
        tokens, _ = self.focusing(tokens, rois, features)
        tokens = self.transition(tokens)  # (B, 49, 512)
        for unit in self.cortex:
            tokens, _ = unit(tokens, rois, features)
        return self.head(self.norm(tokens.mean(dim=1)))
