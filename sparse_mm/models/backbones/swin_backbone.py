"""The base class of the sparse Swins: the pass from images to maps, freezing, loading weights."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.transformer import AdaptivePadding
from mmengine.model import ModuleList, initialize
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models import executors
from sparse_mm.models.backbones.arguments import check_lists
from sparse_mm.models.backbones.prunable import PrunableBackbone
from sparse_mm.models.backbones.sparse_stage import SparseStage
from sparse_mm.models.backbones.swin_weights import from_any_layout, resize_positions
from sparse_mm.models.layers.sizes import CornerPadding, ceil_div
from sparse_mm.models.pretrained import load_pretrained, split_init_cfg


class SwinBackbone(PrunableBackbone):
    """A Swin Transformer of sparse stages; subclasses build it from a host's arguments."""

    # Arguments that only mmpretrain's Swin has.
    out_after_downsample = False
    interpolate_mode = 'bicubic'

    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__(init_cfg=init_cfg)

    def add_embedding(
        self, patch_embed: nn.Module, drop_rate: float, position_shape: tuple[int, int] | None
    ) -> None:
        """Adds the patch embedding and, for a shape, the absolute position embedding.

        Args:
            patch_embed: As mmcv's.
            drop_rate: Dropout of the tokens.
            position_shape: ``(H, W)`` of the position embedding, in tokens; None for none.
        """
        self.patch_embed: Any = patch_embed
        padding: Any = self.patch_embed.adaptive_padding
        if padding is not None and _pads_whole_patches(padding):
            # The same zeros; mmcv computes their number in floats, which compilers cannot simplify.
            self.patch_embed.adaptive_padding = CornerPadding(padding.stride)
        self.use_abs_pos_embed = position_shape is not None
        if position_shape is not None:
            self.position_shape = position_shape
            tokens = position_shape[0] * position_shape[1]
            embed_dims: Any = patch_embed.embed_dims
            self.absolute_pos_embed = nn.Parameter(torch.zeros(1, tokens, embed_dims))
        self.drop_after_pos = nn.Dropout(drop_rate)

    def add_stages(
        self,
        stages: Sequence[SparseStage],
        out_indices: Sequence[int],
        num_features: Sequence[int],
        norm_cfg: dict | None,
    ) -> None:
        """Adds the stages and the normalisation of each output.

        Args:
            stages: In their order.
            out_indices: Stages whose maps are returned.
            num_features: Channels of each stage's output.
            norm_cfg: Of the outputs; None for no normalisation.

        Raises:
            BadInputError: There is no such stage.
        """
        check_lists(out_indices=out_indices)
        named = [i for i in out_indices if isinstance(i, int) and 0 <= i < len(stages)]
        if len(set(named)) < len(out_indices):
            raise BadInputError(
                f'out_indices are {tuple(out_indices)}; the backbone has the stages 0 to '
                f'{len(stages) - 1}, each at most once.'
            )
        self.stages = ModuleList(stages)
        self.out_indices = tuple(out_indices)
        self.num_features = list(num_features)
        for i in self.out_indices:
            norm = nn.Identity()
            if norm_cfg is not None:
                norm = build_norm_layer(norm_cfg, self.num_features[i])[1]
            self.add_module(f'norm{i}', norm)

    def freeze(self, frozen_stages: int, last: int) -> None:
        """Stores the last stage to freeze.

        Args:
            frozen_stages: As the host counts; -1 for none.
            last: The largest valid value.

        Raises:
            BadInputError: There is no such stage.
        """
        if not -1 <= frozen_stages <= last:
            raise BadInputError(
                f'frozen_stages is {frozen_stages}; with {len(self.depths)} stages it is -1 '
                f'(nothing) to {last} (everything).'
            )
        self.frozen_stages = frozen_stages

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
            if stage.merges_first and stage.downsample is not None:
                x, hw_shape = stage.downsample(x, hw_shape)
            x, hw_shape, out, out_hw_shape = stage(x, hw_shape, ratios)
            if self.out_after_downsample:
                out, out_hw_shape = x, hw_shape
            if i in self.out_indices:
                out = getattr(self, f'norm{i}')(out).transpose(1, 2)  # (B, C_i, H_i * W_i)
                outs.append(out.unflatten(2, out_hw_shape).contiguous())
        return tuple(outs)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embeds ``(B, in_channels, H, W)`` as tokens: ``(B, H' * W', C)`` and ``(H', W')``."""
        x, (height, width) = self.patch_embed(images)
        if torch.jit.is_tracing():  # sizes are tensors there, and the windows need numbers
            height, width = int(height), int(width)
        if self.use_abs_pos_embed:
            x = x + self.position_embedding((height, width))
        return self.drop_after_pos(x), (height, width)

    def position_embedding(self, hw_shape: tuple[int, int]) -> Tensor:
        """The absolute position embedding, resized to a map of ``(H, W)``: ``(1, H * W, C)``."""
        embedding = self.absolute_pos_embed
        if tuple(hw_shape) == tuple(self.position_shape):
            return embedding
        return resize_positions(embedding, self.position_shape, hw_shape, self.interpolate_mode)

    def fix_image_size(self, image_size: tuple[int, int]) -> None:
        """Resizes the absolute position embedding permanently, to images of ``(H, W)`` pixels.

        This is for exports, where a resizing in the graph would be executed in every pass and be
        slow to export. Without such an embedding nothing happens.
        """
        if self.use_abs_pos_embed:
            patch = self.patch_embed.projection.stride
            height, width = map(ceil_div, image_size, patch)
            with torch.no_grad():
                embedding = self.position_embedding((height, width)).clone()
            self.absolute_pos_embed = nn.Parameter(embedding)
            self.position_shape = height, width

    def train(self, mode: bool = True) -> 'SwinBackbone':
        """Sets the mode and keeps frozen stages frozen, in evaluation mode."""
        super().train(mode)
        for frozen in self.frozen_parts():
            if isinstance(frozen, nn.Module):
                frozen.eval()
            frozen.requires_grad_(False)
        return self

    def frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """The modules that ``frozen_stages`` freezes, with mmdet's numbering."""
        frozen: list[nn.Module | nn.Parameter] = []
        if self.frozen_stages >= 0:
            frozen += [self.patch_embed, self.drop_after_pos]
            if self.use_abs_pos_embed:
                frozen.append(self.absolute_pos_embed)
        for i in range(self.frozen_stages):
            frozen.append(self.stages[i])
            if i in self.out_indices:
                frozen.append(getattr(self, f'norm{i}'))
        return frozen

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The depth of a parameter, for layer-wise learning-rate decay (mmpretrain).

        Args:
            param_name: Its name in the model.
            prefix: What the backbone's names begin with: ``'backbone.'``.

        Returns:
            0 for the embedding, then 1 for the first block and so on; and the number of depths. The
            output norms and what follows the backbone are the last.
        """
        layers = sum(self.depths) + 2
        part, *rest = param_name.removeprefix(prefix).split('.')
        if param_name.startswith(prefix) and part == 'patch_embed':
            return 0, layers
        if not param_name.startswith(prefix) or part != 'stages':
            return layers - 1, layers
        stage, kind, which = int(rest[0]), rest[1], rest[2]
        if kind == 'blocks':
            return sum(self.depths[:stage]) + int(which) + 1, layers
        merges_first = self.stages[stage].merges_first
        return sum(self.depths[: stage if merges_first else stage + 1]), layers

    def init_weights(self) -> None:
        """Starts from scratch (Swin's initialisation), by ``init_cfg``, or from its checkpoint.

        Raises:
            BadInputError: The checkpoint cannot be read, or it is one of another model; or
                ``init_cfg`` is not understood.
        """
        others, pretrained = split_init_cfg(self.init_cfg)
        if pretrained is None or others:
            self._start_from_scratch()
            initialize(self, others)
        if pretrained is not None:
            load_pretrained(
                self,
                pretrained['checkpoint'],
                lambda weights: from_any_layout(weights, self),
                family='Swin',
                prefix=pretrained.get('prefix'),
            )

    def _start_from_scratch(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if name.endswith(('relative_position_bias_table', 'absolute_pos_embed')):
                trunc_normal_(parameter, std=0.02)


def _pads_whole_patches(padding: Any) -> bool:
    return (
        type(padding) is AdaptivePadding
        and padding.padding == 'corner'
        and padding.kernel_size == padding.stride
        and padding.dilation == (1, 1)
    )
