"""SparseFormer: a few latent tokens that sample the image, instead of a grid of patches."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule, initialize
from mmengine.model.weight_init import trunc_normal_
from mmengine.registry import MODELS
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models import executors
from sparse_mm.models.backbones.sparse_former_constants import CONSTANTS
from sparse_mm.models.backbones.sparse_former_unit import (
    SparseFormerUnit,
    init_from_scratch,
    rising_rates,
)
from sparse_mm.models.layers.adaptive_mixing import DECODERS
from sparse_mm.models.layers.image_features import IMAGE_FEATURES, check_image_size
from sparse_mm.models.layers.loss_scale import is_float16_autocast
from sparse_mm.models.layers.precision import at_least_float32
from sparse_mm.models.layers.rois import grid_cells, grid_rois
from sparse_mm.models.pretrained import (
    backbone_weights,
    describe_widths,
    load_pretrained,
    split_init_cfg,
)

ARCHS: dict[str, dict[str, Any]] = {
    'tiny': dict(num_tokens=49, dims=(256, 512), depth=8, drop_path_rate=0.2),
    'small': dict(num_tokens=64, dims=(320, 640), depth=8, drop_path_rate=0.3),
    'base': dict(num_tokens=81, dims=(384, 768), depth=10, drop_path_rate=0.4),
}
OUT_TYPES = ('pooled', 'tokens')


@MODELS.register_module()
class SparseFormer(BaseModule):
    """Sparse visual recognition via limited latent tokens.

    Source of the method: SparseFormer (Gao et al., ICLR 2024, https://arxiv.org/abs/2304.03768). A
    token is an embedding and a RoI, a box over the image. The narrow focusing transformer, one unit
    run several times, moves the RoIs and reads image features at points in them; the wide cortex
    transformer, whose first unit samples the image once more, processes only the tokens. The cost
    depends on the number of tokens and hardly on the size of the image.

    Args:
        arch: ``'tiny'``, ``'small'`` or ``'base'``; or a dict with ``num_tokens``, ``dims`` (width
            of focusing and of cortex transformer), ``depth`` (units of the cortex transformer) and
            ``drop_path_rate``. Defaults to 'tiny'.
        num_tokens: Overrides the arch's number of tokens; any number. Defaults to None.
        focusing_repeats: How often the focusing unit runs; 0 leaves it out. Defaults to 4.
        roi_side: Side of the tokens' first RoIs, of the image's; with many tokens, as for dense
            prediction, smaller ones see more detail. Defaults to 0.5.
        num_points: Points that a token samples each time; any number. Defaults to 36.
        image_features: What is sampled: ``'early_conv'``, ``'vit_embed'`` (patches of 8 pixels),
            ``'resnet_c2'`` or ``'rgb'``. Defaults to 'early_conv'.
        feature_channels: Channels of what is sampled; None for the paper's. Defaults to None.
        decoding: How samples become a token's update: ``'adaptive'``, ``'static'`` (mixing) or
            ``'linear'``. Defaults to 'adaptive'.
        num_heads: Attention heads, of any width. Defaults to 64.
        mlp_ratio: Hidden channels of an FFN over its channels. Defaults to 4.
        drop_path_rate: Overrides the arch's stochastic depth of the last unit, rising from 0 at the
            first. Defaults to None.
        out_type: ``'pooled'``: one vector per image, for classification heads; ``'tokens'``:
            tokens, RoIs and the feature map, for dense heads. Defaults to 'pooled'.
        with_cp: Whether to save memory in training by computing each unit again in the backward
            pass. Defaults to False.
        constants: Which of the authors' numerical constants are used: those of their ``'training'``
            code or of their ``'library'``. Defaults to 'training'.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)``, or None to start from scratch. Defaults
            to None.

    Attributes:
        loss_scale: What the loss is multiplied by in mixed precision, a tensor of no dimension, or
            None. The gradient of the sampling points is clamped (section 3.2), and the bound must
            grow with the scale. :class:`~sparse_mm.engine.hooks.LossScaleHook` sets it; a training
            loop of your own must set it before each iteration, without waiting for the device:
            ``backbone.loss_scale = scaler.scale(torch.ones((), device=images.device))``.

    Raises:
        BadInputError: A name is unknown, a number is below 1, or a width is not divisible by the
            heads.
    """

    axes = 2  # of a RoI

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'tiny',
        num_tokens: int | None = None,
        focusing_repeats: int = 4,
        roi_side: float = 0.5,
        num_points: int = 36,
        image_features: str = 'early_conv',
        feature_channels: int | None = None,
        decoding: str = 'adaptive',
        num_heads: int = 64,
        mlp_ratio: float = 4,
        drop_path_rate: float | None = None,
        out_type: str = 'pooled',
        with_cp: bool = False,
        constants: str = 'training',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        settings = _read_arch(arch)
        if num_tokens is not None:
            settings['num_tokens'] = num_tokens
        if drop_path_rate is not None:
            settings['drop_path_rate'] = drop_path_rate
        _check(settings, focusing_repeats, num_points, num_heads, feature_channels)
        for name, value, known in (
            ('image_features', image_features, IMAGE_FEATURES),
            ('decoding', decoding, DECODERS),
            ('out_type', out_type, OUT_TYPES),
            ('constants', constants, CONSTANTS),
        ):
            if value not in known:
                raise BadInputError(f'{name} must be one of {", ".join(known)}, not {value!r}.')
        self.out_type = out_type
        narrow, wide = settings['dims']
        count = settings['num_tokens']
        if not 0 < roi_side <= 1:
            raise BadInputError(f'roi_side must be above 0 and at most 1, not {roi_side}.')
        if image_features == 'rgb' and feature_channels not in (None, 3):
            raise BadInputError(f"image_features='rgb' has 3 channels, not {feature_channels}.")
        self.constants = constants
        numbers = CONSTANTS[constants]
        if constants == 'library' and (image_features, decoding) != ('early_conv', 'adaptive'):
            raise BadInputError(
                "constants='library' is for image_features='early_conv' and decoding='adaptive': "
                "the authors' library has no others."
            )
        channels = {} if feature_channels is None else dict(channels=feature_channels)
        self.stem: Any = IMAGE_FEATURES[image_features](**channels, **numbers.stem)
        self.clamps = numbers.clamps

        first = narrow if focusing_repeats else wide
        self.token_embedding = nn.Parameter(torch.randn(count, first))
        self.token_rois = nn.Parameter(grid_rois(count, roi_side))
        depth = settings['depth']
        rates = rising_rates(settings['drop_path_rate'], focusing_repeats + depth)
        unit: dict[str, Any] = dict(
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            channels=self.stem.channels,
            num_points=num_points,
            decoding=decoding,
            with_cp=with_cp,
            axes=self.axes,
            constants=numbers,
        )
        self.focusing: SparseFormerUnit | None = None
        self.transition: nn.Sequential | None = None
        if focusing_repeats:
            self.focusing = SparseFormerUnit(
                narrow, drop_path_rates=rates[:focusing_repeats], focuses=True, **unit
            )
            self.transition = nn.Sequential(nn.Linear(narrow, wide), nn.LayerNorm(wide, eps=1e-6))
        self.cortex = nn.ModuleList(
            SparseFormerUnit(wide, drop_path_rates=[rate], focuses=i == 0, **unit)
            for i, rate in enumerate(rates[focusing_repeats:])
        )
        self.norm = nn.LayerNorm(wide, eps=1e-6)
        self.num_features = wide
        self.loss_scale: Tensor | None = None
        self._warned = False

    def init_weights(self) -> None:
        """Starts from the checkpoint of ``init_cfg``, or from scratch as the paper does."""
        others, pretrained = split_init_cfg(self.init_cfg)
        if pretrained is None or others:
            init_from_scratch(self)
            trunc_normal_(self.token_embedding, std=1.0)
            initialize(self, others)
        if pretrained is not None:
            load_pretrained(
                self,
                pretrained['checkpoint'],
                self._prepare_weights,
                family='SparseFormer',
                describe=partial(describe_widths, archs=ARCHS),
                prefix=pretrained.get('prefix'),
                hint="; authors' checkpoints need tools/model_converters/sparseformer.py",
            )

    def _prepare_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Selects the backbone's weights, and resamples the tokens to this model's number."""
        weights = backbone_weights(weights, self)
        embedding = weights.get('token_embedding')
        count = len(self.token_embedding)
        if embedding is not None and len(embedding) != count:
            weights['token_embedding'] = spread_tokens(embedding, count)
            weights['token_rois'] = self.token_rois.detach().clone()
        return weights

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Computes features.

        Args:
            images: ``(B, 3, H, W)``; any size.

        Returns:
            With ``out_type='pooled'`` one ``(B, C)``. With ``'tokens'`` the tokens ``(B, N, C)``,
            normalised; their RoIs ``(B, N, 4)`` as (x1, y1, x2, y2) in [0, 1] of the image, never
            in half precision; and the feature map ``(B, C', H', W')`` that they were read from.

        Raises:
            BadInputError: The images are smaller than the stride of the feature map.
        """
        check_image_size(images, self.stem.stride)
        executor = executors.find(self, images)
        if executor is not None:
            return executor.run(self, images)
        return self._look(self.stem(images))

    def _look(self, features: Tensor) -> tuple[Tensor, ...]:
        """Runs the tokens over a feature map; see :meth:`forward`."""
        batch = features.shape[0]
        tokens = self.token_embedding.repeat(batch, 1, 1)  # (B, N, narrow)
        rois = at_least_float32(self.token_rois).repeat(batch, 1, 1)  # (B, N, 2 * axes)
        if self.focusing is not None and self.transition is not None:
            tokens, rois = self.focusing(tokens, rois, features, self.loss_scale)
            tokens = self.transition(tokens)  # (B, N, wide)
        for unit in self.cortex:
            tokens, rois = unit(tokens, rois, features, self.loss_scale)
        self._warn_without_loss_scale(tokens)
        if self.out_type == 'pooled':
            return (self.norm(tokens.mean(dim=1)),)
        return self.norm(tokens), rois, features

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The depth of a parameter, for layer-wise learning-rate decay from the head to the stem.

        Args:
            param_name: Its name in the whole model.
            prefix: What the names of the backbone's parameters begin with.

        Returns:
            Its depth, 0 for stem and tokens, and the number of depths, the head's included.
        """
        parts = param_name.removeprefix(prefix).split('.')
        deepest = len(self.cortex) + 2
        depths = {'focusing': 1, 'transition': 1, 'norm': deepest - 1}
        if not param_name.startswith(prefix):
            depth = deepest
        elif parts[0] == 'cortex':
            depth = int(parts[1]) + 2
        else:
            depth = depths.get(parts[0], 0)
        return depth, deepest + 1

    def _warn_without_loss_scale(self, tokens: Tensor) -> None:
        """Warns once that gradients in mixed precision may be clamped too tightly."""
        if torch.compiler.is_compiling() or self._warned or not self.training:
            return
        needed = tokens.requires_grad and is_float16_autocast(tokens.device.type)
        if needed and self.clamps and self.loss_scale is None:
            self._warned = True
            MMLogger.get_current_instance().warning(
                'SparseFormer trains in float16 and was not told the loss scale: with a GradScaler '
                "its sampling points' gradients are clamped too tightly. Add "
                "dict(type='LossScaleHook') to the config's custom_hooks; in a training loop of "
                'your own, set loss_scale of the backbone.'
            )


def spread_tokens(embedding: Tensor, count: int) -> Tensor:
    """Resamples tokens to another number: each is initialised with the nearest one on the old grid.

    Args:
        embedding: ``(N, C)``.
        count: How many to make.
    """
    places, own = grid_cells(len(embedding)), grid_cells(count)
    return embedding[torch.cdist(own, places).argmin(dim=1)]


def _read_arch(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise BadInputError(f'arch must be one of {", ".join(ARCHS)} or a dict, not {arch!r}.')
        return dict(ARCHS[arch])
    needed = set(ARCHS['tiny'])
    if set(arch) != needed:
        raise BadInputError(
            f'arch as a dict needs exactly {", ".join(sorted(needed))}, not '
            f'{", ".join(sorted(arch)) or "nothing"}.'
        )
    return dict(arch)


def _check(
    settings: dict[str, Any],
    repeats: int,
    num_points: int,
    num_heads: int,
    feature_channels: int | None,
) -> None:
    numbers = dict(
        num_tokens=settings['num_tokens'],
        depth=settings['depth'],
        num_points=num_points,
        num_heads=num_heads,
        feature_channels=1 if feature_channels is None else feature_channels,
    )
    for name, number in numbers.items():
        if number < 1:
            raise BadInputError(f'{name} must be at least 1, not {number}.')
    if feature_channels == 1:
        raise BadInputError(
            'feature_channels must be at least 2, since they are normalised, not 1.'
        )
    if repeats < 0:
        raise BadInputError(f'focusing_repeats must not be negative, but is {repeats}.')
    for width in settings['dims'] if repeats else settings['dims'][1:]:
        if width % num_heads:
            raise BadInputError(
                f'The width {width} is not divisible by {num_heads} heads; set num_heads.'
            )
