"""SparseViT on Swin V2 (Liu et al., CVPR 2022): the same pruning, blocks of version 2."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.cnn import build_activation_layer, build_norm_layer
from mmcv.cnn.bricks.drop import build_dropout
from mmengine.registry import MODELS
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.arguments import check_heads, check_names
from sparse_mm.models.backbones.mmpretrain_arguments import (
    StageArguments,
    attention_and_ffn,
    make_merging,
    read_arch,
)
from sparse_mm.models.backbones.mmpretrain_swin import FromMMPretrain
from sparse_mm.models.backbones.sparse_stage import SparseStage, WindowBlock
from sparse_mm.models.backbones.swin_names import DEFAULT_ARCH, EXTRA_NORM, SWIN_V2_ARCHS, V2_ONLY
from sparse_mm.models.layers.cosine_attention import CosineWindowMSA
from sparse_mm.models.layers.feed_forward import FeedForward
from sparse_mm.models.layers.windows import KeptWindows
from sparse_mm.models.ratios import RatioSpec


class SparseBlockV2(WindowBlock):
    """Cosine attention and FFN, each normalised at its end; names as in mmpretrain.

    Args:
        embed_dims: Channels ``C``.
        num_heads: Attention heads.
        feedforward_channels: Hidden channels of the FFN.
        window_size: Side of a window.
        pretrained_window_size: Of the pre-training; 0 for the same.
        extra_norm: Whether a third normalisation ends the block.
        qkv_bias: Whether queries and values have a bias.
        drop_rate: Dropout in the FFN.
        attn_drop_rate: Dropout of attention weights.
        proj_drop_rate: Dropout after attention.
        drop_path_rate: Stochastic depth, drawn per image.
        act_cfg: Activation of the FFN.
        norm_cfg: Normalisation layers.
        with_cp: Whether to compute the windows again in the backward pass.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        window_size: int,
        pretrained_window_size: int,
        extra_norm: bool,
        qkv_bias: bool,
        drop_rate: float,
        attn_drop_rate: float,
        proj_drop_rate: float,
        drop_path_rate: float,
        act_cfg: dict,
        norm_cfg: dict,
        with_cp: bool,
    ) -> None:
        super().__init__(with_cp)
        w_msa = CosineWindowMSA(
            embed_dims,
            num_heads,
            window_size,
            qkv_bias,
            attn_drop_rate,
            proj_drop_rate,
            pretrained_window_size,
        )
        self.attn = nn.ModuleDict({'w_msa': w_msa})
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.drop_path = build_dropout(dict(type='DropPath', drop_prob=drop_path_rate))
        activation = build_activation_layer(act_cfg)
        self.ffn = FeedForward(embed_dims, feedforward_channels, activation, drop_rate)
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.norm3 = build_norm_layer(norm_cfg, embed_dims)[1] if extra_norm else None

    def compute(self, windows: Tensor, kept: KeptWindows) -> Tensor:
        """Attention and FFN, ``(B * k, N, C)`` -> ``(B * k, N, C)``."""
        if kept.padding is not None:
            windows = windows.masked_fill(kept.padding, 0.0)
        x = self.attn['w_msa'](windows, kept.mask_kind, kept.masks)
        x = windows + self.norm1(self._drop(x, kept))
        x = x + self.norm2(self._drop(self.ffn.layers(x), kept))
        return x if self.norm3 is None else self.norm3(x)

    def _drop(self, x: Tensor, kept: KeptWindows) -> Tensor:
        # Stochastic depth drops whole images, so the tokens are grouped by image: (B, k * N, C).
        return self.drop_path(x.view(kept.shape[0], -1, x.shape[-1])).view_as(x)


@MODELS.register_module()
class SparseViTV2(FromMMPretrain):
    """Swin Transformer V2 with window activation pruning.

    Arguments, outputs and ``state_dict`` names are those of mmpretrain's ``SwinTransformerV2``;
    with all ratios 0 the outputs are the same. Windows are scored, ranked and left out as in
    :class:`~sparse_mm.models.SparseViT`. Nothing of mmpretrain is imported.

    Args:
        arch: ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, ``'huge'``, ``'giant'``, their first
            letters, or a dict of ``embed_dims``, ``depths``, ``num_heads`` and
            ``extra_norm_every_n_blocks``. Defaults to ``'tiny'``.
        img_size: Usual size of the images, for the position embedding. Defaults to 256.
        patch_size: Side of a patch in pixels. Defaults to 4.
        in_channels: Channels of the image. Defaults to 3.
        window_size: Side of a window in tokens, one for all stages or one each. Defaults to 8.
        drop_rate: Dropout after the embedding. Defaults to 0.
        drop_path_rate: Stochastic depth of the last block, rising from 0 at the first. Defaults to
            0.1.
        out_indices: Stages whose maps are returned. Defaults to (3,).
        use_abs_pos_embed: Whether to add an absolute position embedding. Defaults to False.
        interpolate_mode: How it is resized for other image sizes. Defaults to ``'bicubic'``.
        with_cp: Whether to save memory in training by computing each block's windows again in the
            backward pass. Defaults to False.
        frozen_stages: Last stage to freeze, counted from 0; -1 for nothing. Defaults to -1.
        norm_eval: Whether batch normalisation keeps its statistics in training. Defaults to False.
        pad_small_map: Whether windows are shifted on maps that they cover, and smaller maps padded.
            Defaults to False.
        norm_cfg: Normalisation of the outputs; None for none. Defaults to LN.
        stage_cfgs: As in :class:`~sparse_mm.models.backbones.mmpretrain_swin.MMPretrainSparseViT`.
            Defaults to none.
        patch_cfg: Other arguments of mmcv's ``PatchEmbed``. Defaults to none.
        pretrained_window_sizes: Sides of the windows of the pre-training, for each stage; 0 for the
            same. Defaults to 0.
        pruning_ratios: See :class:`~sparse_mm.models.SparseViT`. Defaults to None.
        init_cfg: See :class:`~sparse_mm.models.SparseViT`. Defaults to None.

    Raises:
        BadInputError: As :class:`~sparse_mm.models.SparseViT`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> 'SparseViTV2':
        """Checks the names of the arguments."""
        if cls is SparseViTV2:
            check_names(cls, kwargs)
        return super().__new__(cls)

    def __init__(
        self,
        arch: str | Mapping[str, Any] = DEFAULT_ARCH,
        img_size: int | tuple[int, int] = 256,
        patch_size: int = 4,
        in_channels: int = 3,
        window_size: int | Sequence[int] = 8,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (3,),
        use_abs_pos_embed: bool = False,
        interpolate_mode: str = 'bicubic',
        with_cp: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        pad_small_map: bool = False,
        norm_cfg: dict | None = dict(type='LN'),  # noqa: B006
        stage_cfgs: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
        patch_cfg: Mapping[str, Any] | None = None,
        pretrained_window_sizes: int | Sequence[int] = 0,
        pruning_ratios: RatioSpec = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        settings = read_arch(arch, SWIN_V2_ARCHS)
        self.begin(
            settings,
            img_size,
            patch_size,
            in_channels,
            patch_cfg or {},
            drop_rate,
            use_abs_pos_embed,
            interpolate_mode,
            frozen_stages,
            norm_eval,
        )
        self.finish(
            stage_cfgs,
            out_indices,
            norm_cfg,
            pruning_ratios,
            drop_path_rate,
            num_heads=settings['num_heads'],
            window_size=window_size,
            pad_small_map=pad_small_map,
            with_cp=with_cp,
            pretrained_window_size=self.for_each_stage(V2_ONLY, pretrained_window_sizes),
        )

    def make_stage(self, arguments: StageArguments, index: int, width: int) -> SparseStage:
        """Builds a stage that begins with its patch merging; the first has none."""
        merging = make_merging(width, arguments.merging, norm_after=True) if index else None
        width = width if merging is None else merging.reduction.out_features
        check_heads([width], [arguments.num_heads])
        every = self.arch_settings[EXTRA_NORM]
        blocks = []
        for i, block in enumerate(arguments.blocks):
            rest = attention_and_ffn(block, width)
            if rest.pop('qk_scale') is not None:
                raise BadInputError('Swin V2 learns the scale of its cosines: no qk_scale.')
            blocks.append(
                SparseBlockV2(
                    width,
                    arguments.num_heads,
                    window_size=arguments.window_size,
                    pretrained_window_size=block['pretrained_window_size'],
                    extra_norm=bool(every) and (i + 1) % every == 0,
                    **rest,
                )
            )
        return SparseStage(
            width, arguments.window_size, blocks, merging, True, arguments.pad_small_map
        )
