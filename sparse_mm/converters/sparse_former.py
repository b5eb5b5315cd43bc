"""The authors' SparseFormer checkpoints -> ours.

Two forms of the first version are told apart by their keys: the training code's (``token_roi``,
``head.norm``) and the library's (``initial_roi``, ``norm1``).
"""

import re
from collections.abc import Mapping

from torch import Tensor

from sparse_mm.checkpoints import first_few
from sparse_mm.errors import BadInputError

# Names of whole modules and of the parts of a unit: theirs (a pattern) -> ours.
TRAINING_CODE = {
    r'feat_extractor\.conv1\.(.*)': r'stem.conv.\1',
    r'(?:token|initial)_embedding\.weight': 'token_embedding',
    r'(?:token|initial)_roi\.weight': 'token_rois',
    r'layers\.1\.(.*)': r'transition.\1',
    r'head\.norm\.(.*)': r'norm.\1',
    r'head\.classifier\.(.*)': r'head.fc.\1',
    r'norm\.(.*)': r'norm.\1',
    r'proj\.(.*)': r'head.fc.\1',
}
UNIT = {
    r'ln_attn\.(.*)': r'norm1.\1',
    r'norm1\.(.*)': r'norm1.\1',
    r'attn\.in_proj_(weight|bias)': r'attn.qkv.\1',
    r'attn\.out_proj\.(.*)': r'attn.proj.\1',
    r'attn\.(qkv|proj)\.(.*)': r'attn.\1.\2',
    r'ffn\.0\.(.*)': r'norm2.\1',
    r'ffn\.1\.(.*)': r'ffn.0.\1',
    r'ffn\.3\.(.*)': r'ffn.2.\1',
    r'norm2\.(.*)': r'norm2.\1',
    r'mlp\.fc1\.(.*)': r'ffn.0.\1',
    r'mlp\.fc2\.(.*)': r'ffn.2.\1',
    r'roi_adjust_module\.0\.(.*)': r'sampler.adjust_norm.\1',
    r'roi_adjust_module\.1\.(.*)': r'sampler.adjust.\1',
    r'roi_offset_module\.0\.(.*)': r'sampler.offset_norm.\1',
    r'roi_offset_module\.1\.(.*)': r'sampler.offset.\1',
    r'roi_offset_bias': r'sampler.offset_bias',
    r'adaptive_mixing\.parameter_generator\.0\.(.*)': r'mixing.norm.\1',
    r'adaptive_mixing\.parameter_generator\.1\.(.*)': r'mixing.reduce.\1',
    r'adaptive_mixing\.parameter_generator\.2\.(.*)': r'mixing.generate.\1',
    r'adaptive_mixing\.m_beta': r'mixing.channel_bias',
    r'adaptive_mixing\.s_beta': r'mixing.point_bias',
    r'adaptive_mixing\.(?:tuo|out)_proj\.(.*)': r'mixing.project.\1',
}


def convert_sparse_former(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the weights of an authors' checkpoint.

    Args:
        weights: By the authors' names.

    Returns:
        By ours: the backbone's without a prefix, the classifier's as ``head.fc``.

    Raises:
        BadInputError: They are not weights of a SparseFormer.
    """
    converted: dict[str, Tensor] = {}
    unknown = []
    for name, value in weights.items():
        new = _rename(name)
        if new is None:
            unknown.append(name)
        else:
            # Ours keeps the points' offsets as (P, 2).
            converted[new] = value.view(-1, 2) if new.endswith('offset_bias') else value
    if unknown or 'token_rois' not in converted:
        missing = '' if 'token_rois' in converted else "; it lacks the tokens' RoIs"
        raise BadInputError(
            f'This is not a SparseFormer checkpoint of the first version: unknown are '
            f'{first_few(unknown) or "no weights"}{missing}.'
        )
    return converted


def _rename(name: str) -> str | None:
    layer = re.fullmatch(r'layers\.(\d+)\.(.*)', name)
    if layer and layer[1] != '1':
        number = int(layer[1])
        unit = 'focusing' if number == 0 else f'cortex.{number - 2}'
        part = _translate(layer[2], UNIT)
        return None if part is None else f'{unit}.{part}'
    return _translate(name, TRAINING_CODE)


def _translate(name: str, rules: Mapping[str, str]) -> str | None:
    for pattern, replacement in rules.items():
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(replacement)
    return None
