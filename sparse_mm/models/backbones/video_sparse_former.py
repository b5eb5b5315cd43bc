"""VideoSparseFormer: latent tokens that sample a clip in RoIs of space and time."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.sparse_former import SparseFormer, spread_tokens
from sparse_mm.models.layers.image_features import check_clip_size, frame_features
from sparse_mm.models.layers.rois import clip_rois
from sparse_mm.models.pretrained import backbone_weights


@MODELS.register_module()
class VideoSparseFormer(SparseFormer):
    """SparseFormer for clips: its tokens, repeated along time, sample RoIs of space and time.

    Source of the method: SparseFormer (Gao et al., ICLR 2024, https://arxiv.org/abs/2304.03768,
    appendix). Every frame goes through the stem by itself, so time keeps its resolution. A token's
    RoI has a beginning and an end; each copy of the image's tokens starts with its part of the
    clip. Points lie in space and time, sampling is trilinear, and all tokens attend to all.

    Two things differ from the authors' code unless ``constants='library'``. Points are initialised
    at different times of their RoI. In the authors' code they start in its middle and are divided
    by their standard deviation of zero; their times have a thousand times the gradient of x, and
    fill the RoI after one step. Until then only the two middle frames of four are sampled. The
    second difference is that zero padding begins at the ends of the clip
    (:func:`~sparse_mm.models.layers.rois.hold_ends`). So a still clip of any length, also of one
    frame, gives the outputs of the image model, as long as the RoIs stay inside the clip.

    ``init_cfg=dict(type='Pretrained', checkpoint=…)`` loads checkpoints of VideoSparseFormers, also
    with another number of copies, and of SparseFormers: their spatial weights are copied, temporal
    weights are initialised with zero (the times of the points as described above), and every copy
    is initialised with the image's tokens.

    Args:
        arch: As for :class:`~sparse_mm.models.SparseFormer`; ``num_tokens`` are those of one copy.
            Defaults to 'tiny'.
        replicates: Copies of the image's tokens along time. Defaults to 8.
        num_tokens: Overrides the arch's number of tokens of one copy. Defaults to None.
        focusing_repeats: How often the focusing unit runs. Defaults to 4.
        roi_side: Side of the tokens' first RoIs, of the frame's. Defaults to 0.5.
        num_points: Points that a token samples each time. Defaults to 36.
        image_features: What is sampled of every frame. Defaults to 'early_conv'.
        feature_channels: Channels of what is sampled; None for the paper's. Defaults to None.
        decoding: How samples become a token's update. Defaults to 'adaptive'.
        num_heads: Attention heads. Defaults to 64.
        mlp_ratio: Hidden channels of an FFN over its channels. Defaults to 4.
        drop_path_rate: Overrides the arch's stochastic depth. Defaults to None.
        out_type: ``'pooled'`` or ``'tokens'``. Defaults to 'pooled'.
        with_cp: Whether to compute each unit again in the backward pass. Defaults to False.
        constants: ``'training'``; or ``'library'``, with which checkpoints of the authors' video
            code give their original outputs. Defaults to 'training'.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)``, or None. Defaults to None.

    Raises:
        BadInputError: ``replicates`` is below 1, or another setting is wrong.
    """

    axes = 3

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'tiny',
        replicates: int = 8,
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
        if isinstance(replicates, bool) or not isinstance(replicates, int) or replicates < 1:
            raise BadInputError(
                f'replicates, the copies of the tokens along time, must be a whole number of at '
                f'least 1, not {replicates!r}.'
            )
        super().__init__(
            arch=arch,
            num_tokens=num_tokens,
            focusing_repeats=focusing_repeats,
            roi_side=roi_side,
            num_points=num_points,
            image_features=image_features,
            feature_channels=feature_channels,
            decoding=decoding,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            drop_path_rate=drop_path_rate,
            out_type=out_type,
            with_cp=with_cp,
            constants=constants,
            init_cfg=init_cfg,
        )
        self.replicates = replicates
        self.token_embedding = nn.Parameter(self.token_embedding.detach().repeat(replicates, 1))
        self.token_rois = nn.Parameter(clip_rois(self.token_rois.detach(), replicates))

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Computes features.

        Args:
            clips: ``(B, 3, T, H, W)``; any number of frames, any size.

        Returns:
            With ``out_type='pooled'`` one ``(B, C)``. With ``'tokens'`` the tokens ``(B, N, C)``,
            normalised, copy after copy; their RoIs ``(B, N, 6)`` as (x1, y1, t1, x2, y2, t2) in
            [0, 1] of the clip, never in half precision; and the feature map
            ``(B, C', T, H', W')`` that they were read from.

        Raises:
            BadInputError: The input is not a clip, has no frame, or frames smaller than the stride
                of the feature map.
        """
        check_clip_size(clips, self.stem.stride)
        return self._look(frame_features(self.stem, clips))

    def _prepare_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Selects a backbone's weights; inflates an image model's, resamples other copies."""
        weights = backbone_weights(weights, self)
        if 'token_rois' not in weights or 'token_embedding' not in weights:
            return weights
        embedding, rois = weights['token_embedding'], weights['token_rois']
        count = len(self.token_embedding) // self.replicates
        if rois.dim() == 2 and rois.shape[-1] == 4:
            if len(embedding) != count:
                embedding = spread_tokens(embedding, count)
                rois = self.token_rois.detach()[:count, [0, 1, 3, 4]]
            return {
                **{name: self._with_time(name, value) for name, value in weights.items()},
                'token_embedding': embedding.repeat(self.replicates, 1),
                'token_rois': clip_rois(rois, self.replicates),
            }
        if len(embedding) == len(self.token_embedding):
            return weights
        if len(embedding) % count:
            raise BadInputError(
                f'it has {len(embedding)} tokens, which are no copies of the {count} that this '
                'VideoSparseFormer repeats; set num_tokens to those of one of its copies.'
            )
        # Each copy is initialised with the one whose time range contains its middle.
        theirs = embedding.unflatten(0, (-1, count))  # (R', N, C)
        nearest = torch.tensor(
            [(2 * i + 1) * len(theirs) // (2 * self.replicates) for i in range(self.replicates)]
        )
        own = self.token_rois.detach().clone()
        places = rois.unflatten(0, (-1, count))[nearest].flatten(0, 1)  # (R * N, 6)
        own[:, [0, 1, 3, 4]] = places[:, [0, 1, 3, 4]].to(own)
        return {**weights, 'token_embedding': theirs[nearest].flatten(0, 1), 'token_rois': own}

    def _with_time(self, name: str, value: Tensor) -> Tensor:
        """Adds time to an image model's weight: zeros, or initial times for the points' offsets."""
        if name.endswith('sampler.offset_bias'):  # (P, 2)
            own = self.state_dict().get(name)
            times = value[:, :1] * 0 if own is None or len(own) != len(value) else own[:, 2:]
            return torch.cat([value, times.to(value)], dim=-1)
        if name.endswith(('sampler.offset.weight', 'sampler.adjust.weight')):  # (2n, dim)
            return F.pad(value.unflatten(0, (-1, 2)), (0, 0, 0, 1)).flatten(0, 1)  # (3n, dim)
        return value
