"""SparseViT: Swin whose blocks compute only the windows that matter."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.model import ModuleList
from mmengine.model.weight_init import trunc_normal_
from mmengine.registry import MODELS
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models import executors
from sparse_mm.models.backbones.prunable import PrunableBackbone
from sparse_mm.models.backbones.sparse_stage import SparseStage
from sparse_mm.models.layers.patch_merging import PatchMerging
from sparse_mm.models.pretrained import backbone_weights, load_pretrained
from sparse_mm.models.ratios import RatioSpec


@MODELS.register_module()
class SparseViT(PrunableBackbone):
    """Swin Transformer with window activation pruning.

    Source of the method: SparseViT (Chen et al., CVPR 2023, https://arxiv.org/abs/2303.17605) on
    Swin (Liu et al., ICCV 2021). Arguments and ``state_dict`` names are those of mmdet's
    ``SwinTransformer``, so its checkpoints load as they are; with all ratios 0 the outputs are the
    same.

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
        strides: Stride of the patch embedding, then of each patch merging. Defaults to (4, 2, 2,
            2).
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
        convert_weights: Whether the checkpoint of ``init_cfg`` is one of the original Swin
            repository. Defaults to False.
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
        init_cfg: ``dict(type='Pretrained', checkpoint=…)``, or None to start from scratch. Defaults
            to None.

    Raises:
        BadInputError: The ratios do not fit (see :func:`~sparse_mm.models.ratios.parse_ratios`),
            or the numbers of stages in ``depths``, ``num_heads`` and ``strides`` differ.
    """

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
        self.out_indices = tuple(out_indices)
        self.convert_weights = convert_weights
        self.frozen_stages = frozen_stages
        self.num_features = [embed_dims * 2**i for i in range(len(depths))]

        self.patch_embed = PatchEmbed(
            in_channels=in_channels,
            embed_dims=embed_dims,
            kernel_size=patch_size,
            stride=patch_size,
            norm_cfg=norm_cfg if patch_norm else None,
        )
        self.use_abs_pos_embed = use_abs_pos_embed
        if use_abs_pos_embed:
            height, width = to_2tuple(pretrain_img_size)
            self.position_shape = (height // patch_size, width // patch_size)
            self.absolute_pos_embed = nn.Parameter(
                torch.zeros(1, self.position_shape[0] * self.position_shape[1], embed_dims)
            )
        self.drop_after_pos = nn.Dropout(drop_rate)

        # On the CPU whatever the default device: on torch's meta device there are no numbers.
        drop_path_rates = torch.linspace(0, drop_path_rate, sum(depths), device='cpu').tolist()
        self.stages = ModuleList()
        for i, depth in enumerate(depths):
            channels = self.num_features[i]
            downsample = None
            if i < len(depths) - 1:
                stride = strides[i + 1]
                merged = stride * stride * channels
                norm = build_norm_layer(norm_cfg, merged)[1] if patch_norm else None
                downsample = PatchMerging(channels, 2 * channels, stride, norm)
            stage = SparseStage(
                channels,
                num_heads[i],
                int(mlp_ratio * channels),
                window_size,
                drop_path_rates=[drop_path_rates.pop(0) for _ in range(depth)],
                downsample=downsample,
                qkv_bias=qkv_bias,
                qk_scale=qk_scale,
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                act_cfg=act_cfg or dict(type='GELU'),
                norm_cfg=norm_cfg,
                with_cp=with_cp,
                pad_before_norm=pad_before_norm,
            )
            self.stages.append(stage)
        for i in self.out_indices:
            self.add_module(f'norm{i}', build_norm_layer(norm_cfg, self.num_features[i])[1])

        self.init_ratios(pruning_ratios)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Computes feature maps.

        Args:
            x: ``(B, in_channels, H, W)``; any size.

        Returns:
            One ``(B, C_i, H_i, W_i)`` for each of ``out_indices``.
        """
        executor = executors.find(self, x)
        if executor is not None:
            return executor.run(self, x)
        x, hw_shape = self.embed(x)  # (B, H/4 * W/4, C)
        outs = []
        for i, (stage, ratios) in enumerate(zip(self.stages, self.ratios_in_force(), strict=True)):
            x, hw_shape, out, out_hw_shape = stage(x, hw_shape, ratios)
            if i in self.out_indices:
                out = getattr(self, f'norm{i}')(out).transpose(1, 2)  # (B, C_i, H_i * W_i)
                outs.append(out.unflatten(2, out_hw_shape).contiguous())
        return tuple(outs)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Makes tokens of ``(B, in_channels, H, W)``: ``(B, H' * W', C)`` and ``(H', W')``."""
        x, (height, width) = self.patch_embed(images)
        if torch.jit.is_tracing():  # sizes are tensors there, and the windows need numbers
            height, width = int(height), int(width)
        if self.use_abs_pos_embed:
            x = x + self.position_embedding((height, width))
        return self.drop_after_pos(x), (height, width)

    def position_embedding(self, hw_shape: tuple[int, int]) -> Tensor:
        """The absolute position embedding, resized to a map of ``(H, W)``: ``(1, H * W, C)``."""
        embedding = self.absolute_pos_embed
        if tuple(hw_shape) == self.position_shape:
            return embedding
        grid = embedding.transpose(1, 2).unflatten(2, self.position_shape)  # (1, C, h, w)
        grid = F.interpolate(grid, size=tuple(hw_shape), mode='bicubic', align_corners=False)
        return grid.flatten(2).transpose(1, 2)  # (1, H * W, C)

    def fix_image_size(self, image_size: tuple[int, int]) -> None:
        """Resizes the absolute position embedding once for all, to images of ``(H, W)`` pixels.

        For exports: there a resizing in the graph would be done in every pass, and be slow to
        export. Without such an embedding nothing happens.
        """
        if self.use_abs_pos_embed:
            patch = self.patch_embed.projection.stride
            height, width = (-(-side // step) for side, step in zip(image_size, patch, strict=True))
            with torch.no_grad():
                embedding = self.position_embedding((height, width)).clone()
            self.absolute_pos_embed = nn.Parameter(embedding)
            self.position_shape = height, width

    def train(self, mode: bool = True) -> 'SparseViT':
        """Sets the mode and keeps frozen stages frozen, in evaluation mode."""
        super().train(mode)
        frozen: list[nn.Module] = []
        if self.frozen_stages >= 0:
            frozen += [self.patch_embed, self.drop_after_pos]
            if self.use_abs_pos_embed:
                self.absolute_pos_embed.requires_grad = False
        for i in range(self.frozen_stages):
            frozen.append(self.stages[i])
            if i in self.out_indices:
                frozen.append(getattr(self, f'norm{i}'))
        for module in frozen:
            module.eval()
            module.requires_grad_(False)
        return self

    def init_weights(self) -> None:
        """Starts from the checkpoint of ``init_cfg``, or from scratch (Swin's initialisation).

        Raises:
            BadInputError: The checkpoint cannot be read, or it is one of another model.
        """
        if self.init_cfg is not None:
            load_pretrained(
                self,
                self.init_cfg['checkpoint'],
                self._prepare_weights,
                family='Swin',
                hint='; original Swin checkpoints need convert_weights=True',
            )
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if name.endswith(('relative_position_bias_table', 'absolute_pos_embed')):
                trunc_normal_(parameter, std=0.02)

    def _prepare_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Brings Swin's weights to our names and to this window size."""
        if self.convert_weights:
            # Imported here: mmdet is needed for nothing else in the backbone.
            from mmdet.models.backbones.swin import swin_converter

            weights = swin_converter(weights)
        weights = backbone_weights(weights)
        own = self.state_dict()
        for name in [n for n in weights if n.endswith('relative_position_bias_table') and n in own]:
            weights[name] = _resize_bias_table(weights[name], own[name])
        for name in [n for n in weights if n.endswith('relative_position_index')]:
            del weights[name]  # follows from the window size
        return weights


def _resize_bias_table(table: Tensor, target: Tensor) -> Tensor:
    """Resizes a bias table for another window size: ``(S², heads)`` -> ``(T², heads)``."""
    if len(table) == len(target):
        return table
    side, target_side = round(len(table) ** 0.5), round(len(target) ** 0.5)
    grid = table.t().reshape(1, -1, side, side)
    grid = F.interpolate(grid, size=(target_side, target_side), mode='bicubic', align_corners=False)
    return grid.flatten(2).squeeze(0).t().contiguous()
