"""SparseFormers that inherit the blocks of a pre-trained Vision Transformer."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModule, initialize
from mmengine.model.weight_init import trunc_normal_
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparse_mm.errors import BadInputError
from sparse_mm.models import executors
from sparse_mm.models.backbones.sparse_former_unit import (
    PointSampler,
    SelfAttention,
    drop_path,
    init_from_scratch,
    rising_rates,
)
from sparse_mm.models.layers.adaptive_mixing import AdaptiveMixing
from sparse_mm.models.layers.image_features import EarlyConvolution, check_image_size
from sparse_mm.models.layers.precision import at_least_float32
from sparse_mm.models.layers.rois import (
    adjust_rois,
    encode_rois,
    grid_rois,
    sample_features,
)
from sparse_mm.models.pretrained import (
    backbone_weights,
    describe_widths,
    load_pretrained,
    split_init_cfg,
)

ARCHS: dict[str, dict[str, Any]] = {
    'augreg_base': dict(num_tokens=48, dims=(384, 768), depth=8, activation='gelu'),
    'augreg_large': dict(num_tokens=48, dims=(512, 1024), depth=16, activation='gelu'),
    'clip_base': dict(num_tokens=48, dims=(384, 768), depth=8, activation='quick_gelu'),
    'clip_large': dict(num_tokens=63, dims=(512, 1024), depth=16, activation='quick_gelu'),
}
HEAD_SIZE = 64
EPSILON = 1e-5


class QuickGELU(nn.Module):
    """The activation of CLIP's transformers (Radford et al., ICML 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        """Applies it."""
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, type[nn.Module]] = dict(gelu=nn.GELU, quick_gelu=QuickGELU)


class TransformerBlock(nn.Module):
    """A block of a Vision Transformer: attention and FFN, heads of 64 channels.

    Args:
        dim: Channels of a token.
        activation: Name of the FFN's activation.
    """

    def __init__(self, dim: int, activation: str = 'gelu') -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = SelfAttention(dim, dim // HEAD_SIZE)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.ffn = nn.Sequential(
            nn.Linear(dim, 4 * dim), ACTIVATIONS[activation](), nn.Linear(4 * dim, dim)
        )

    def forward(self, tokens: Tensor, rate: float) -> Tensor:
        """``(B, N, dim)`` -> ``(B, N, dim)``; ``rate`` of stochastic depth."""
        tokens = tokens + drop_path(self.attn(self.norm1(tokens)), rate, self.training)
        return tokens + drop_path(self.ffn(self.norm2(tokens)), rate, self.training)


class Sampling(nn.Module):
    """Samples the image in the tokens' RoIs, and adds the RoIs' positions to the tokens.

    Args:
        dim: Channels of a token.
        channels: Channels of the image features.
        num_points: Points that a token samples.
    """

    def __init__(self, dim: int, channels: int, num_points: int) -> None:
        super().__init__()
        self.sampler = PointSampler(dim, num_points, EPSILON, EPSILON)
        self.mixing = AdaptiveMixing(
            dim,
            channels,
            num_points,
            out_points=max(num_points, 32),
            hidden_dim=128,
            bias=False,
            epsilon=EPSILON,
        )
        self.position_norm = nn.LayerNorm(dim, eps=EPSILON)
        self.position = nn.Linear(dim, dim)

    def init_weights(self) -> None:
        """Initialises with a regular grid of points in each RoI, for all tokens."""
        nn.init.zeros_(self.sampler.offset.weight)

    def forward(self, tokens: Tensor, rois: Tensor, features: Tensor, rate: float) -> Tensor:
        """``(B, N, dim)`` tokens with ``(B, N, 4)`` RoIs over ``(B, C, H, W)`` -> tokens."""
        points = self.sampler(tokens, rois)  # (B, N, P, 2)
        sampled = sample_features(features, points, padding='border', clamp=False)
        tokens = tokens + drop_path(self.mixing(sampled, tokens), rate, self.training)
        code = encode_rois(rois, tokens.shape[-1]).to(tokens.dtype)
        return tokens + self.position(self.position_norm(code))


class Focusing(nn.Module):
    """Samples features and updates tokens and RoIs, several times with shared weights.

    Args:
        dim: Channels of a token.
        channels: Channels of the image features.
        num_points: Points that a token samples.
        drop_path_rates: Stochastic depth of each time.
    """

    def __init__(
        self, dim: int, channels: int, num_points: int, drop_path_rates: Sequence[float]
    ) -> None:
        super().__init__()
        self.drop_path_rates = tuple(drop_path_rates)
        self.stage_embedding = nn.Parameter(torch.randn(len(self.drop_path_rates), dim))
        self.look = Sampling(dim, channels, num_points)
        self.block = TransformerBlock(dim)
        self.adjust_norm = nn.LayerNorm(dim, eps=EPSILON)
        self.adjust = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 4, bias=False))

    def init_weights(self) -> None:
        """Initialises so that the RoIs do not move."""
        nn.init.constant_(self.adjust_norm.weight, self.adjust_norm.weight.numel() ** -0.5)
        last: Any = self.adjust[-1]
        nn.init.zeros_(last.weight)

    def forward(self, tokens: Tensor, rois: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``(B, N, dim)`` tokens and ``(B, N, 4)`` RoIs after all repeats."""
        for i, rate in enumerate(self.drop_path_rates):
            tokens = tokens + self.stage_embedding[i]
            tokens = self.look(tokens, rois, features, rate)
            tokens = self.block(tokens, rate)
            rois = adjust_rois(rois, self.adjust(self.adjust_norm(tokens)))
        return tokens, rois


@MODELS.register_module()
class BootstrappedSparseFormer(BaseModule):
    """A SparseFormer whose wide part is a pre-trained Vision Transformer's blocks.

    Source of the method: Bootstrapping SparseFormers from Vision Foundation Models (Gao et al.,
    CVPR 2024, https://arxiv.org/abs/2312.01987).

    Args:
        arch: ``'augreg_base'``, ``'augreg_large'``, ``'clip_base'`` or ``'clip_large'``; or a dict
            with ``num_tokens``, ``dims``, ``depth`` and ``activation`` (``'gelu'`` or
            ``'quick_gelu'``, of the inherited blocks). Defaults to 'augreg_base'.
        num_points: Points that a token samples each time. Defaults to 16.
        channels: Channels of the image features. Defaults to 64.
        focusing_repeats: How often the focusing unit runs. Defaults to 4.
        drop_path_rate: Stochastic depth of the last block, rising from 0. Defaults to 0.
        out_type: ``'pooled'``: the class token, for classification heads; ``'tokens'``: tokens
            without it, RoIs and the feature map, for dense heads. Defaults to 'pooled'.
        with_cp: Whether to compute each block of the wide part again in the backward pass.
            Defaults to False.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)``, or None. Defaults to None.

    Raises:
        BadInputError: A name is unknown, a number below 1, or a width no multiple of 64.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'augreg_base',
        num_points: int = 16,
        channels: int = 64,
        focusing_repeats: int = 4,
        drop_path_rate: float = 0.0,
        out_type: str = 'pooled',
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if isinstance(arch, str) and arch not in ARCHS:
            raise BadInputError(f'arch must be one of {", ".join(ARCHS)} or a dict, not {arch!r}.')
        settings = dict(ARCHS[arch] if isinstance(arch, str) else arch)
        if set(settings) != set(ARCHS['augreg_base']):
            raise BadInputError('arch as a dict needs exactly num_tokens, dims, depth, activation.')
        if settings['activation'] not in ACTIVATIONS:
            raise BadInputError(f'activation must be one of {", ".join(ACTIVATIONS)}.')
        if out_type not in ('pooled', 'tokens'):
            raise BadInputError(f'out_type must be one of pooled, tokens, not {out_type!r}.')
        count, (narrow, wide), depth = settings['num_tokens'], settings['dims'], settings['depth']
        if min(count, depth, num_points, channels, focusing_repeats) < 1:
            raise BadInputError(
                'num_tokens, depth, num_points, channels and focusing_repeats must be at least 1.'
            )
        if narrow % HEAD_SIZE or wide % HEAD_SIZE:
            raise BadInputError(
                f'The widths {narrow} and {wide} must be multiples of {HEAD_SIZE}, the head size.'
            )
        self.out_type = out_type
        self.with_cp = with_cp
        self.num_features = wide
        rates = rising_rates(drop_path_rate, focusing_repeats + 1 + depth)
        self.stem = EarlyConvolution(channels, unbiased=False, epsilon=EPSILON)
        self.token_embedding = nn.Parameter(torch.randn(1, narrow))  # the same for all tokens
        self.token_rois = nn.Parameter(grid_rois(count))
        self.cls_token = nn.Parameter(torch.randn(1, wide))
        self.focusing = Focusing(narrow, channels, num_points, rates[:focusing_repeats])
        self.transition = nn.Linear(narrow, wide)
        self.drop_path_rates = rates[focusing_repeats:]
        self.look = Sampling(wide, channels, num_points)
        self.blocks = nn.ModuleList(
            TransformerBlock(wide, settings['activation']) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(wide, eps=EPSILON)

    def init_weights(self) -> None:
        """Starts from the checkpoint of ``init_cfg``, or from scratch."""
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
                family='BootstrappedSparseFormer',
                describe=partial(describe_widths, archs=ARCHS),
                hint="; authors' checkpoints need tools/model_converters/sparseformer.py",
                prefix=pretrained.get('prefix'),
            )

    def _prepare_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Selects the backbone's weights; for another number of tokens without the RoIs."""
        weights = backbone_weights(weights, self)
        if 'token_rois' in weights and len(weights['token_rois']) != len(self.token_rois):
            weights['token_rois'] = self.token_rois.detach().clone()
        return weights

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Computes features.

        Args:
            images: ``(B, 3, H, W)``; any size.

        Returns:
            With ``out_type='pooled'`` one ``(B, C)``. With ``'tokens'`` the tokens ``(B, N, C)``,
            normalised; their RoIs ``(B, N, 4)``, never in half precision; and the feature map
            ``(B, C', H/4, W/4)``.

        Raises:
            BadInputError: The images are smaller than the stride of the feature map.
        """
        check_image_size(images, self.stem.stride)
        executor = executors.find(self, images)
        if executor is not None:
            return executor.run(self, images)
        batch = images.shape[0]
        features = self.stem(images)  # (B, C', H/4, W/4)
        rois = at_least_float32(self.token_rois).repeat(batch, 1, 1)  # (B, N, 4)
        tokens = self.token_embedding.repeat(batch, rois.shape[1], 1)  # (B, N, narrow)
        tokens, rois = self.focusing(tokens, rois, features)
        tokens = self.transition(tokens)  # (B, N, wide)
        tokens = self.look(tokens, rois, features, self.drop_path_rates[0])
        tokens = torch.cat([self.cls_token.repeat(batch, 1, 1), tokens], dim=1)  # (B, 1 + N, wide)
        for block, rate in zip(self.blocks, self.drop_path_rates[1:], strict=True):
            if self.with_cp and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, rate, use_reentrant=False)
            else:
                tokens = block(tokens, rate)
        if self.out_type == 'pooled':
            return (self.norm(tokens[:, 0]),)
        return self.norm(tokens[:, 1:]), rois, features
