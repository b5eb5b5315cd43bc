"""SparseViT with the arguments of mmpretrain's Swin, so that its configs work unchanged."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.arguments import (
    check_heads,
    check_lists,
    check_rates,
    check_whole,
    image_sides,
)
from sparse_mm.models.backbones.mmpretrain_arguments import (
    StageArguments,
    attention_and_ffn,
    make_merging,
    per_stage,
    read_arch,
    read_stage,
)
from sparse_mm.models.backbones.sparse_stage import SparseBlock, SparseStage
from sparse_mm.models.backbones.sparse_vit import SparseViT
from sparse_mm.models.backbones.swin_backbone import SwinBackbone
from sparse_mm.models.backbones.swin_names import DEFAULT_ARCH, SWIN_ARCHS
from sparse_mm.models.backbones.swin_weights import fit_sizes, rename_last_norm
from sparse_mm.models.ratios import RatioSpec


class FromMMPretrain(SwinBackbone):
    """Semantics that mmpretrain's Swin and Swin V2 share, and that differ from mmdet's.

    ``frozen_stages`` counts stages from 0; weights of other sizes are resized whenever they are
    loaded; one output norm, ``norm``, is the last stage's.
    """

    def begin(
        self,
        arch: Mapping[str, Any],
        img_size: Any,
        patch_size: int,
        in_channels: int,
        patch_cfg: Mapping[str, Any],
        drop_rate: float,
        use_abs_pos_embed: bool,
        interpolate_mode: str,
        frozen_stages: int,
        norm_eval: bool,
    ) -> None:
        """Stores the arguments that concern no stage, and builds the embedding.

        Args:
            arch: ``embed_dims``, ``depths`` and ``num_heads``.
            img_size: As in the constructor; the same for those that follow.
            patch_size: Side of a patch.
            in_channels: Channels of the image.
            patch_cfg: Of the patch embedding.
            drop_rate: Of the tokens.
            use_abs_pos_embed: Whether there is a position embedding.
            interpolate_mode: Of the position embedding.
            frozen_stages: Last stage to freeze.
            norm_eval: Whether batch normalisation keeps its statistics.
        """
        check_lists(depths=arch['depths'], num_heads=arch['num_heads'])
        check_whole(
            1, embed_dims=arch['embed_dims'], in_channels=in_channels, patch_size=patch_size
        )
        check_whole(0, depths=arch['depths'])
        check_rates(drop_rate=drop_rate)
        self.arch_settings = dict(arch)
        self.embed_dims: int = arch['embed_dims']
        self.depths = tuple(arch['depths'])
        self.num_layers = len(self.depths)
        self.freeze(frozen_stages, last=len(self.depths) - 1)
        self.norm_eval = norm_eval
        self.interpolate_mode = interpolate_mode
        patch: dict[str, Any] = dict(
            in_channels=in_channels,
            embed_dims=self.embed_dims,
            kernel_size=patch_size,
            stride=patch_size,
            norm_cfg=dict(type='LN'),
            input_size=image_sides('img_size', img_size),
        )
        patch_embed = PatchEmbed(**{**patch, **patch_cfg})
        self.patch_resolution = patch_embed.init_out_size
        position_shape = self.patch_resolution if use_abs_pos_embed else None
        self.add_embedding(patch_embed, drop_rate, position_shape)

    def finish(
        self,
        stage_cfgs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        out_indices: Sequence[int],
        norm_cfg: dict | None,
        pruning_ratios: RatioSpec,
        drop_path_rate: float,
        **others: Any,
    ) -> None:
        """Makes the stages, the normalisation of their outputs and the ratios.

        Args:
            stage_cfgs: As in the constructor; the same for those that follow.
            out_indices: Stages whose maps are returned.
            norm_cfg: Of the outputs.
            pruning_ratios: Of the blocks.
            drop_path_rate: Stochastic depth of the last block; it rises from 0 at the first.
            **others: Defaults for ``stage_cfgs``, one value for all stages or one for each.
        """
        check_rates(drop_path_rate=drop_path_rate)
        check_whole(1, window_size=others['window_size'])
        # On the CPU whatever the default device: on torch's meta device there are no numbers.
        rates = torch.linspace(0, drop_path_rate, sum(self.depths), device='cpu').tolist()
        drop_paths = [[rates.pop(0) for _ in range(depth)] for depth in self.depths]
        each = {name: self.for_each_stage(name, value) for name, value in others.items()}
        stages, widths = [], [self.embed_dims]
        for i, own in enumerate(per_stage(stage_cfgs or {}, self.num_layers)):
            defaults = {name: values[i] for name, values in each.items()}
            arguments = read_stage(own, i, dict(defaults, drop_paths=drop_paths[i]))
            stage = self.make_stage(arguments, i, widths[-1])
            stages.append(stage)
            follows = None if stage.merges_first else stage.downsample
            widths.append(stage.embed_dims if follows is None else follows.reduction.out_features)
        own_widths = [stage.embed_dims for stage in stages]
        num_features = widths[1:] if self.out_after_downsample else own_widths
        self.add_stages(stages, out_indices, num_features, norm_cfg)
        self.init_ratios(pruning_ratios)

    @abstractmethod
    def make_stage(self, arguments: StageArguments, index: int, width: int) -> SparseStage:
        """Makes a stage.

        Args:
            arguments: Of the stage.
            index: Which one, from 0.
            width: Channels of its input.
        """

    def for_each_stage(self, name: str, value: Any) -> list[Any]:
        """Returns the value of an argument for each stage.

        Args:
            name: Of the argument, for the message.
            value: One for all stages, or a list with one each.

        Raises:
            BadInputError: The list is too short.
        """
        values = list(value) if isinstance(value, Sequence) else [value] * self.num_layers
        if len(values) < self.num_layers:
            raise BadInputError(
                f'{name} has {len(values)} entries for {self.num_layers} stages; give one number '
                'or one for each stage.'
            )
        return values

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Computes feature maps, see :class:`SwinBackbone`.

        Args:
            x: ``(B, in_channels, H, W)``.
            mask: Always None.

        Raises:
            BadInputError: A mask is given, as SimMIM does in pre-training.
        """
        if mask is not None:
            raise BadInputError(
                'SimMIM pre-training hides patches from the backbone, for which a pruned Swin has '
                "no use; pre-train with mmpretrain's own Swin and start the sparse one from its "
                'weights.'
            )
        return super().forward(x)

    def frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """The modules that ``frozen_stages`` freezes, with mmpretrain's numbering."""
        if self.frozen_stages < 0:
            return []
        norms = [i for i in self.out_indices if i <= self.frozen_stages]
        return [
            self.patch_embed,
            *self.stages[: self.frozen_stages + 1],
            *(getattr(self, f'norm{i}') for i in norms),
        ]

    def train(self, mode: bool = True) -> 'FromMMPretrain':
        """Sets the mode; frozen modules, and norms with ``norm_eval``, stay in evaluation."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        own = self.state_dict()
        theirs = {
            name.removeprefix(prefix): state_dict.pop(name)
            for name in list(state_dict)
            if name.startswith(prefix)
        }
        # Of early versions, and computed here.
        theirs = {name: value for name, value in theirs.items() if 'attn_mask' not in name}
        for name, value in fit_sizes(rename_last_norm(theirs, len(self.stages)), self).items():
            follows = name.endswith(('relative_position_index', 'relative_coords_table'))
            state_dict[prefix + name] = own[name] if follows and name in own else value
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class MMPretrainSparseViT(FromMMPretrain, SparseViT):
    """SparseViT with the arguments of mmpretrain's ``SwinTransformer``.

    ``type='SparseViT'`` with ``arch=``, ``img_size=`` or another argument that mmdet's Swin has not
    builds it. With all ratios 0 its outputs are those of mmpretrain's; its ``state_dict`` has the
    same names. Nothing of mmpretrain is imported.

    Args:
        arch: ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, their first letters, or a dict of
            ``embed_dims``, ``depths`` and ``num_heads``. Defaults to ``'tiny'``.
        img_size: Usual size of the images, for the position embedding. Defaults to 224.
        patch_size: Side of a patch in pixels. Defaults to 4.
        in_channels: Channels of the image. Defaults to 3.
        window_size: Side of a window in tokens, one for all stages or one each. Defaults to 7.
        drop_rate: Dropout after the embedding. Defaults to 0.
        drop_path_rate: Stochastic depth of the last block, rising from 0 at the first. Defaults to
            0.1.
        out_indices: Stages whose maps are returned. Defaults to (3,).
        out_after_downsample: Whether a stage's map is returned after the patch merging behind it.
            Defaults to False.
        use_abs_pos_embed: Whether to add an absolute position embedding. Defaults to False.
        interpolate_mode: How it is resized for other image sizes. Defaults to ``'bicubic'``.
        with_cp: Whether to save memory in training by computing each block's windows again in the
            backward pass. Defaults to False.
        frozen_stages: Last stage to freeze, counted from 0; -1 for nothing. Defaults to -1.
        norm_eval: Whether batch normalisation keeps its statistics in training. Defaults to False.
        pad_small_map: Whether windows are shifted on maps that they cover, and smaller maps padded.
            Defaults to False.
        norm_cfg: Normalisation of the outputs; None for none. Defaults to LN.
        stage_cfgs: Other arguments of the stages (``window_size``, ``num_heads``, ``drop_paths``,
            ``with_cp``, ``pad_small_map``, ``downsample_cfg``, ``block_cfgs``), for all or a list
            with one dict each. Defaults to none.
        patch_cfg: Other arguments of mmcv's ``PatchEmbed``. Defaults to none.
        pruning_ratios: See :class:`SparseViT`. Defaults to None.
        init_cfg: See :class:`SparseViT`. Defaults to None.

    Raises:
        BadInputError: As :class:`SparseViT`; or an argument asks for what cannot be pruned.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = DEFAULT_ARCH,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 4,
        in_channels: int = 3,
        window_size: int | Sequence[int] = 7,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (3,),
        out_after_downsample: bool = False,
        use_abs_pos_embed: bool = False,
        interpolate_mode: str = 'bicubic',
        with_cp: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        pad_small_map: bool = False,
        norm_cfg: dict | None = dict(type='LN'),  # noqa: B006
        stage_cfgs: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
        patch_cfg: Mapping[str, Any] | None = None,
        pruning_ratios: RatioSpec = None,
        init_cfg: dict | None = None,
    ) -> None:
        SwinBackbone.__init__(self, init_cfg=init_cfg)  # SparseViT's own takes mmdet's arguments
        settings = read_arch(arch, SWIN_ARCHS)
        self.out_after_downsample = out_after_downsample
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
        )

    def make_stage(self, arguments: StageArguments, index: int, width: int) -> SparseStage:
        """Makes a stage whose patch merging follows its blocks; the last has none."""
        check_heads([width], [arguments.num_heads])
        blocks = [
            SparseBlock(
                width,
                arguments.num_heads,
                window_size=arguments.window_size,
                pad_before_norm=False,
                **attention_and_ffn(block, width),
            )
            for block in arguments.blocks
        ]
        last = index == self.num_layers - 1
        merging = None if last else make_merging(width, arguments.merging)
        return SparseStage(
            width,
            arguments.window_size,
            blocks,
            merging,
            pad_small_map=arguments.pad_small_map,
        )
