"""SparseViT: a Swin whose blocks compute only the most important windows."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.registry import MODELS

from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.arguments import (
    check_heads,
    check_lists,
    check_names,
    check_rates,
    check_whole,
    image_sides,
)
from sparse_mm.models.backbones.sparse_stage import SparseBlock, SparseStage
from sparse_mm.models.backbones.swin_backbone import SwinBackbone
from sparse_mm.models.backbones.swin_names import MMPRETRAIN_ONLY
from sparse_mm.models.layers.patch_merging import PatchMerging
from sparse_mm.models.ratios import RatioSpec


@MODELS.register_module()
class SparseViT(SwinBackbone):
    """Swin Transformer with window activation pruning.

    Source of the method: SparseViT (Chen et al., CVPR 2023, https://arxiv.org/abs/2303.17605) on
    Swin (Liu et al., ICCV 2021). Arguments and ``state_dict`` names are those of mmdet's
    ``SwinTransformer``, so its checkpoints load as they are; with all ratios 0 the outputs are the
    same. Built with ``arch=`` or another argument that only mmpretrain's ``SwinTransformer`` has,
    it is a :class:`~sparse_mm.models.backbones.mmpretrain_swin.MMPretrainSparseViT` instead, with
    that class's arguments, outputs and semantics.

    In each block only the windows with the largest activations go through attention and FFN; the
    tokens of the others pass through unchanged. Which windows those are is decided once per stage.

    The ratios are saved with the weights, as ``saved_ratios``. A model built with
    ``pruning_ratios=None`` takes them over from a checkpoint; a model built with ratios keeps its
    own.

    Args:
        pretrain_img_size: Image size of the pre-training, for the absolute position embedding.
            Defaults to 224.
        in_channels: Channels of the image. Defaults to 3.
        embed_dims: Channels of the first stage; each further stage has twice as many. Defaults to
            96.
        patch_size: Side of a patch in pixels; the same as ``strides[0]``. Defaults to 4.
        window_size: Side of a window in tokens. Defaults to 7.
        mlp_ratio: Hidden channels of an FFN over its channels. Defaults to 4.
        depths: Blocks of each stage. Defaults to (2, 2, 6, 2), which is Swin-T.
        num_heads: Attention heads of each stage. Defaults to (3, 6, 12, 24).
        strides: Stride of the patch embedding, then of each patch merging, which joins 2x2 tokens.
            Defaults to (4, 2, 2, 2).
        out_indices: Stages whose maps are returned. Defaults to (0, 1, 2, 3).
        qkv_bias: Whether queries, keys and values have a bias. Defaults to True.
        qk_scale: Overrides the attention's scale. Defaults to None.
        patch_norm: Whether patch embedding and patch merging are normalised. Defaults to True.
        drop_rate: Dropout rate. Defaults to 0.
        attn_drop_rate: Dropout rate of attention weights. Defaults to 0.
        drop_path_rate: Stochastic depth of the last block, rising from 0 at the first. Defaults to
            0.1.
        use_abs_pos_embed: Whether to add an absolute position embedding (resized, bicubic, for
            other image sizes). Defaults to False.
        act_cfg: Activation of the FFNs. Defaults to GELU.
        norm_cfg: Normalisation layers. Defaults to LN.
        with_cp: Whether to save memory in training by computing each block's windows again in the
            backward pass. Defaults to False.
        pretrained: Deprecated; use ``init_cfg``.
        convert_weights: Accepted for mmdet's configs, and not needed: the layout of a checkpoint
            (mmdet, mmseg, mmpretrain, timm, the original Swin) is recognised by its names. Defaults
            to False.
        frozen_stages: Last stage to freeze; 0 freezes the patch embedding alone, -1 nothing.
            Defaults to -1.
        pruning_ratios: Share of windows not to compute: None (dense), one number, one per stage,
            one per pair of W-MSA and SW-MSA blocks, one per block, a list per stage of these, or
            the path of a JSON file with any of them. In [0, 1), not decreasing inside a stage.
            Defaults to None.
        pad_before_norm: How windows that reach over the map's edge are filled. False: as in mmdet's
            Swin, zeros after the normalisation; True: as in the authors' SparseViT, zeros before
            it, so that a padding token is attended to as the normalisation's bias. Defaults to
            False.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)``; any other of MMEngine's initialisers,
            or a list of them, which follow Swin's own; or None for that alone. Defaults to None.

    Raises:
        BadInputError: The ratios do not fit (see :func:`~sparse_mm.models.ratios.parse_ratios`),
            the numbers of stages in ``depths``, ``num_heads`` and ``strides`` differ, heads do not
            divide the channels, a stage does not exist, or an argument is unknown.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> 'SparseViT':
        """Selects the class by the names of the arguments."""
        if cls is SparseViT:
            # Imported here: it is a subclass.
            from sparse_mm.models.backbones.mmpretrain_swin import MMPretrainSparseViT

            if MMPRETRAIN_ONLY & kwargs.keys():
                cls = MMPretrainSparseViT
            check_names(cls, kwargs)
        return super().__new__(cls)

    def __init__(
        self,
        pretrain_img_size: int | tuple[int, int] = 224,
        in_channels: int = 3,
        embed_dims: int = 96,
        patch_size: int = 4,
        window_size: int = 7,
        mlp_ratio: float = 4,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        strides: Sequence[int] = (4, 2, 2, 2),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        patch_norm: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        use_abs_pos_embed: bool = False,
        act_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
        pretrained: str | None = None,
        convert_weights: bool = False,
        frozen_stages: int = -1,
        pruning_ratios: RatioSpec = None,
        pad_before_norm: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        if pretrained is not None:
            if init_cfg is not None:
                raise BadInputError('Give either init_cfg or the deprecated pretrained, not both.')
            init_cfg = dict(type='Pretrained', checkpoint=pretrained)
        super().__init__(init_cfg=init_cfg)
        check_lists(depths=depths, num_heads=num_heads, strides=strides)
        check_whole(
            1,
            **dict(in_channels=in_channels, embed_dims=embed_dims, patch_size=patch_size),
            **dict(window_size=window_size, strides=strides),
        )
        check_whole(0, depths=depths)
        check_rates(
            drop_rate=drop_rate, attn_drop_rate=attn_drop_rate, drop_path_rate=drop_path_rate
        )
        if not isinstance(mlp_ratio, Real) or int(mlp_ratio * embed_dims) < 1:
            raise BadInputError(f'mlp_ratio must be above 0, not {mlp_ratio!r}.')
        if not len(depths) == len(num_heads) == len(strides):
            raise BadInputError(
                f'depths, num_heads and strides must name the same stages, but have {len(depths)}, '
                f'{len(num_heads)} and {len(strides)} entries.'
            )
        if strides[0] != patch_size:
            raise BadInputError(
                f'strides[0] is {strides[0]} but patch_size is {patch_size}: patches do not '
                'overlap, so both must be the same.'
            )
        norm_cfg = norm_cfg or dict(type='LN')
        self.depths = tuple(depths)
        self.freeze(frozen_stages, last=len(depths))
        num_features = [embed_dims * 2**i for i in range(len(depths))]
        check_heads(num_features, num_heads)

        patch_embed = PatchEmbed(
            in_channels=in_channels,
            embed_dims=embed_dims,
            kernel_size=patch_size,
            stride=patch_size,
            norm_cfg=norm_cfg if patch_norm else None,
        )
        height, width = image_sides('pretrain_img_size', pretrain_img_size)
        position_shape = (height // patch_size, width // patch_size)
        self.add_embedding(patch_embed, drop_rate, position_shape if use_abs_pos_embed else None)

        # On the CPU for any default device: tensors on torch's meta device have no values.
        drop_path_rates = torch.linspace(0, drop_path_rate, sum(depths), device='cpu').tolist()
        stages = []
        for i, depth in enumerate(depths):
            channels = num_features[i]
            downsample = None
            if i < len(depths) - 1:
                # As in both hosts, a merging joins 2x2 tokens whatever its stride.
                norm = build_norm_layer(norm_cfg, 4 * channels)[1] if patch_norm else None
                downsample = PatchMerging(channels, 2 * channels, strides[i + 1], norm, kernel=2)
            blocks = [
                SparseBlock(
                    channels,
                    num_heads[i],
                    int(mlp_ratio * channels),
                    window_size,
                    qkv_bias=qkv_bias,
                    qk_scale=qk_scale,
                    drop_rate=drop_rate,
                    attn_drop_rate=attn_drop_rate,
                    proj_drop_rate=drop_rate,
                    drop_path_rate=drop_path_rates.pop(0),
                    act_cfg=act_cfg or dict(type='GELU'),
                    norm_cfg=norm_cfg,
                    with_cp=with_cp,
                    pad_before_norm=pad_before_norm,
                )
                for _ in range(depth)
            ]
            stages.append(SparseStage(channels, window_size, blocks, downsample))
        self.add_stages(stages, out_indices, num_features, norm_cfg)
        self.init_ratios(pruning_ratios)
