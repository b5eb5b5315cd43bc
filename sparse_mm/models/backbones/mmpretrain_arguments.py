"""Reading the nested arguments of mmpretrain's Swin Transformers (``arch``, ``stage_cfgs``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmcv.cnn import build_norm_layer

from sparse_mm.errors import BadInputError, nearest
from sparse_mm.models.backbones.swin_names import ATTENTION, BLOCK, DEFAULT_ARCH, FFN, MERGING
from sparse_mm.models.layers.patch_merging import PatchMerging


def read_arch(arch: Any, archs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Reads ``arch``: a name, its first letter, or a dict of the numbers.

    Raises:
        BadInputError: It is unknown, or a dict with missing or additional keys.
    """
    if isinstance(arch, str):
        names = {letter: name for name in archs for letter in (name, name[0])}
        if arch.lower() not in names:
            raise BadInputError(
                f'arch {arch!r} is none of {", ".join(archs)}{nearest(arch, archs) or "."}'
            )
        return archs[names[arch.lower()]]
    keys = set(archs[DEFAULT_ARCH])
    if not isinstance(arch, Mapping) or set(arch) != keys:
        raise BadInputError(f'arch must be a name or a dict of {sorted(keys)}, not {arch!r}.')
    if len(arch['depths']) != len(arch['num_heads']):
        raise BadInputError(
            f'arch must name the same stages in depths and num_heads, not '
            f'{len(arch["depths"])} and {len(arch["num_heads"])}.'
        )
    return dict(arch)


@dataclass(frozen=True)
class StageArguments:
    """The settings of a stage, from mmpretrain's arguments.

    Attributes:
        num_heads: Attention heads.
        window_size: Side of a window.
        pad_small_map: See :class:`~sparse_mm.models.backbones.sparse_stage.SparseStage`.
        merging: Arguments of the patch merging.
        blocks: Arguments of each block.
    """

    num_heads: int
    window_size: int
    pad_small_map: bool
    merging: dict[str, Any]
    blocks: list[dict[str, Any]]


def read_stage(
    stage_cfg: Mapping[str, Any], index: int, defaults: dict[str, Any]
) -> StageArguments:
    """Reads one stage's ``stage_cfg`` and the ``block_cfgs`` in it.

    Args:
        stage_cfg: The stage's own arguments.
        index: Of the stage, for messages.
        defaults: Default values: ``num_heads``, ``window_size``, ``pad_small_map``, ``with_cp``,
            ``drop_paths`` (one for each block) and whatever else blocks take.

    Raises:
        BadInputError: An argument is unknown or not supported, or the blocks of the stage would
            have windows of different sizes.
    """
    if not isinstance(stage_cfg, Mapping):
        raise BadInputError(f'stage_cfgs of stage {index} must be a dict, not {stage_cfg!r}.')
    own = dict(stage_cfg)
    block_cfgs, merging = own.pop('block_cfgs', {}), dict(own.pop('downsample_cfg', {}))
    stage = {**defaults, **_known(own, defaults, f'stage_cfgs of stage {index}')}
    drop_paths = stage.pop('drop_paths')
    depth = len(defaults['drop_paths'])
    if not isinstance(drop_paths, Sequence):
        drop_paths = [drop_paths] * depth
    if not isinstance(block_cfgs, Sequence):
        block_cfgs = [block_cfgs] * depth
    if not len(block_cfgs) == len(drop_paths) == depth:
        raise BadInputError(
            f'stage_cfgs of stage {index} name {len(block_cfgs)} blocks and {len(drop_paths)} '
            f'drop_paths; its depth is {depth}.'
        )
    blocks = []
    for drop_path, block_cfg in zip(drop_paths, block_cfgs, strict=True):
        block = {**BLOCK, **stage, 'drop_path': drop_path}
        blocks.append({**block, **_known(block_cfg, block, f'block_cfgs of stage {index}')})
    shared = {}
    for name in 'num_heads', 'window_size', 'pad_small_map':
        values = [block.pop(name) for block in blocks]
        if any(value != values[0] for value in values):
            raise BadInputError(
                f'The blocks of stage {index} have different values of {name} ({values}); the '
                'blocks of a stage share their windows and one ranking of them.'
            )
        shared[name] = values[0]
    return StageArguments(**shared, merging=merging, blocks=blocks)


def per_stage(stage_cfgs: Any, stages: int) -> list[Mapping[str, Any]]:
    """Returns the arguments of each stage.

    Raises:
        BadInputError: They are neither one dict nor one for each stage.
    """
    given = [stage_cfgs] * stages if isinstance(stage_cfgs, Mapping) else stage_cfgs
    if not isinstance(given, Sequence) or len(given) != stages:
        raise BadInputError(
            f'stage_cfgs must be a dict, or a list of {stages}, one for each stage.'
        )
    return list(given)


def make_merging(
    in_channels: int, merging: Mapping[str, Any], norm_after: bool = False
) -> PatchMerging:
    """Builds a patch merging from mmpretrain's arguments.

    Raises:
        BadInputError: Its patches would overlap, or are padded in another way.
    """
    usual = {**MERGING, 'out_channels': 2 * in_channels, 'use_post_norm': norm_after}
    wanted = {**usual, **_known(merging, usual, 'downsample_cfg')}
    kernel = wanted['kernel_size']
    if (
        not isinstance(kernel, int)
        or wanted['stride'] not in (None, kernel)
        or wanted['padding'] not in ('corner', 0)
        or wanted['dilation'] != 1
    ):
        raise BadInputError(
            f'downsample_cfg is {dict(merging)}; SparseViT merges square patches that do not '
            "overlap: give kernel_size alone, and padding='corner'."
        )
    out_channels, after = wanted['out_channels'], wanted['use_post_norm']
    width = out_channels if after else kernel * kernel * in_channels
    norm = None if wanted['norm_cfg'] is None else build_norm_layer(wanted['norm_cfg'], width)[1]
    return PatchMerging(in_channels, out_channels, kernel, norm, after, wanted['bias'])


def attention_and_ffn(block: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """Reads a block's ``attn_cfgs`` and ``ffn_cfgs``.

    Raises:
        BadInputError: One of them is unknown or not supported.
    """
    attention = {**ATTENTION, **_known(block['attn_cfgs'], ATTENTION, 'attn_cfgs')}
    usual = {**FFN, 'feedforward_channels': int(channels * block['ffn_ratio'])}
    ffn = {**usual, **_known(block['ffn_cfgs'], usual, 'ffn_cfgs')}
    return dict(
        feedforward_channels=ffn['feedforward_channels'],
        qkv_bias=attention['qkv_bias'],
        qk_scale=attention['qk_scale'],
        attn_drop_rate=attention['attn_drop'],
        proj_drop_rate=attention['proj_drop'],
        drop_rate=ffn['ffn_drop'],
        act_cfg=ffn['act_cfg'],
        drop_path_rate=block['drop_path'],
        norm_cfg=block['norm_cfg'],
        with_cp=block['with_cp'],
    )


def _known(own: Mapping[str, Any], known: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    for name in own:
        if name not in known:
            raise BadInputError(
                f'{where} sets {name!r}, which SparseViT does not support there (it supports '
                f'{", ".join(sorted(known))}).'
            )
    return own
