"""The authors' SparseFormer checkpoints -> ours.

Four forms are distinguished: by their keys the first version by the training code (``token_roi``,
``head.norm``) and by the library (``initial_roi``, ``norm1``), and the library's bootstrapped
models (``cls_embedding``); by RoIs of six numbers the library's model for clips.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from sparse_mm.errors import BadInputError
from sparse_mm.named_weights import first_few

# Patterns of their names, whole, and our names for them; the first that fits is taken.
Rules = dict[str, str]

STEM_AND_TOKENS: Rules = {
    r'feat_extractor\.conv1\.(.*)': r'stem.conv.\1',
    r'(?:token|initial)_embedding\.weight': 'token_embedding',
    r'(?:token|initial)_roi\.weight': 'token_rois',
    r'(?:head\.)?norm\.(.*)': r'norm.\1',
    r'(?:head\.classifier|proj)\.(.*)': r'head.fc.\1',
}
BLOCK: Rules = {
    r'(?:ln_attn|norm1)\.(.*)': r'norm1.\1',
    r'attn\.in_proj_(.*)': r'attn.qkv.\1',
    r'attn\.out_proj\.(.*)': r'attn.proj.\1',
    r'attn\.(.*)': r'attn.\1',
    r'(?:ffn\.0|norm2)\.(.*)': r'norm2.\1',
    r'(?:ffn\.1|mlp\.fc1)\.(.*)': r'ffn.0.\1',
    r'(?:ffn\.3|mlp\.fc2)\.(.*)': r'ffn.2.\1',
}
MIXING: Rules = {
    r'adaptive_mixing\.parameter_generator\.0\.(.*)': r'mixing.norm.\1',
    r'adaptive_mixing\.parameter_generator\.1\.(.*)': r'mixing.reduce.\1',
    r'adaptive_mixing\.parameter_generator\.2\.(.*)': r'mixing.generate.\1',
    r'adaptive_mixing\.m_beta': r'mixing.channel_bias',
    r'adaptive_mixing\.s_beta': r'mixing.point_bias',
    r'adaptive_mixing\.(?:tuo|out)_proj\.(.*)': r'mixing.project.\1',
}
SAMPLER: Rules = {
    r'roi_offset_module\.0\.(.*)': r'sampler.offset_norm.\1',
    r'roi_offset_module\.1\.(.*)': r'sampler.offset.\1',
    r'roi_offset_bias': r'sampler.offset_bias',
}
FIRST_VERSION: Rules = {
    **BLOCK,
    **MIXING,
    **SAMPLER,
    r'roi_adjust_module\.0\.(.*)': r'sampler.adjust_norm.\1',
    r'roi_adjust_module\.1\.(.*)': r'sampler.adjust.\1',
}
SAMPLING: Rules = {
    **MIXING,
    **SAMPLER,
    r'pe_transition\.0\.(.*)': r'position_norm.\1',
    r'pe_transition\.1\.(.*)': r'position.\1',
}
FOCUSING: Rules = {
    **{pattern: f'look.{new}' for pattern, new in SAMPLING.items()},
    **{pattern: f'block.{new}' for pattern, new in BLOCK.items()},
    r'stage_embedding\.weight': 'stage_embedding',
    r'roi_adjust_module\.0\.(.*)': r'adjust_norm.\1',
    r'roi_adjust_module\.1\.(.*)': r'adjust.0.\1',
    r'roi_adjust_module\.3\.(.*)': r'adjust.2.\1',
}


class Converted(NamedTuple):
    """A checkpoint by our names.

    Attributes:
        backbone: ``'SparseFormer'``, ``'BootstrappedSparseFormer'`` or ``'VideoSparseFormer'``.
        weights: The backbone's without a prefix, the classifier's as ``head.fc``.
    """

    backbone: str
    weights: dict[str, Tensor]


def convert_sparse_former(weights: Mapping[str, Tensor]) -> Converted:
    """Renames the weights of an authors' checkpoint.

    Args:
        weights: By the authors' names.

    Raises:
        BadInputError: They are not weights of a SparseFormer, or not those of one alone.
    """
    weights = _alone(weights)
    bootstrapped = 'cls_embedding.weight' in weights
    in_clips = any(
        name.endswith('_roi.weight') and value.shape[-1] == 6 for name, value in weights.items()
    )
    rename = _rename_bootstrapped if bootstrapped else _rename_first_version
    converted: dict[str, Tensor] = {}
    unknown = []
    for name, value in weights.items():
        new = rename(name)
        if new is None:
            unknown.append(name)
        elif new.endswith('offset_bias'):
            # Ours keeps the points' offsets as (P, 2), of clips (P, 3).
            converted[new] = value.view(-1, 3 if in_clips else 2)
        elif new == 'stem.conv.weight' and value.dim() == 5:
            converted[new] = value.squeeze(2)  # theirs is a convolution over one frame
        else:
            converted[new] = value
    if unknown or 'token_rois' not in converted:
        missing = '' if 'token_rois' in converted else "; it lacks the tokens' RoIs"
        raise BadInputError(
            f'This is not a SparseFormer checkpoint: unknown are '
            f'{first_few(unknown) or "no weights"}{missing}.'
        )
    if in_clips:
        return Converted('VideoSparseFormer', converted)
    return Converted('BootstrappedSparseFormer' if bootstrapped else 'SparseFormer', converted)


def _alone(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Takes off what stands before all names of a SparseFormer that is a part of something."""
    if any(name.removeprefix('backbone.') == 'token_rois' for name in weights):
        raise BadInputError(
            'These weights have our names already, and need no converting: name their file in '
            "load_from, or in the backbone's init_cfg."
        )
    marks = (re.fullmatch(r'(.*\.)(?:token|initial)_roi\.weight', name) for name in weights)
    prefix = next((found[1] for found in marks if found), '')
    others = [name for name in weights if not name.startswith(prefix)]
    if others:
        raise BadInputError(
            f'The SparseFormer stands there as {prefix + "…"!r} beside {first_few(others)}; save '
            'its own weights alone.'
        )
    return {name.removeprefix(prefix): value for name, value in weights.items()}


def _rename_first_version(name: str) -> str | None:
    layer = re.fullmatch(r'layers\.(\d+)\.(.*)', name)
    if not layer:
        return _translate(name, STEM_AND_TOKENS)
    number, rest = int(layer[1]), layer[2]
    if number == 1:
        return f'transition.{rest}'
    return _translate(rest, FIRST_VERSION, 'focusing.' if number == 0 else f'cortex.{number - 2}.')


def _rename_bootstrapped(name: str) -> str | None:
    layer = re.fullmatch(r'layers\.(\d+)\.(.*)', name)
    if not layer:
        return _translate(name, {r'cls_embedding\.weight': 'cls_token', **STEM_AND_TOKENS})
    number, rest = int(layer[1]), layer[2]
    if number == 0:
        return _translate(rest, FOCUSING, 'focusing.')
    if number == 1:
        return _translate(rest, {r'0\.(.*)': r'transition.\1'})
    if number == 2:
        return _translate(rest, SAMPLING, 'look.')
    return _translate(rest, BLOCK, f'blocks.{number - 3}.')


def _translate(name: str, rules: Rules, prefix: str = '') -> str | None:
    for pattern, replacement in rules.items():
        found = re.fullmatch(pattern, name)
        if found:
            return prefix + found.expand(replacement)
    return None
