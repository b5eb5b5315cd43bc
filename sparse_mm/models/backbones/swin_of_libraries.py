"""Translates Swin weights of torchvision and transformers to the names of the original repository.

Both concatenate patches in the original's order, and have the patch merging at the end of a stage.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sparse_mm.errors import BadInputError

Rules = tuple[tuple[str, str], ...]

# A weight that each of them has. It identifies a Swin, and the prefix of the backbone's names.
TORCHVISION = re.compile(r'(.*)features\.1\.0\.attn\.(?:relative_position_bias_table|logit_scale)$')
TRANSFORMERS = re.compile(
    r'(.*)encoder\.layers\.0\.blocks\.0\.attention\.self\.'
    r'(?:relative_position_bias_table|logit_scale)$'
)

PARTS = 'query', 'key', 'value'

FROM_TORCHVISION: Rules = (
    (r'^features\.0\.0\.', 'patch_embed.proj.'),
    (r'^features\.0\.2\.', 'patch_embed.norm.'),
    (r'\.mlp\.0\.', '.mlp.fc1.'),
    (r'\.mlp\.3\.', '.mlp.fc2.'),
)
FROM_TRANSFORMERS: Rules = (
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'^embeddings\.norm\.', 'patch_embed.norm.'),
    (r'^embeddings\.position_embeddings$', 'absolute_pos_embed'),
    (r'^layernorm\.', 'norm.'),
    (r'^encoder\.layers\.', 'layers.'),
    (r'\.layernorm_before\.', '.norm1.'),
    (r'\.layernorm_after\.', '.norm2.'),
    (r'\.attention\.self\.continuous_position_bias_mlp\.', '.attn.cpb_mlp.'),
    (r'\.attention\.self\.', '.attn.'),
    (r'\.attention\.output\.dense\.', '.attn.proj.'),
    (r'\.intermediate\.dense\.', '.mlp.fc1.'),
    (r'\.output\.dense\.', '.mlp.fc2.'),
)


def by_original_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translates the weights of either library's Swin; all others stay as they are.

    Args:
        weights: Of a Swin, or of a whole model with one.

    Raises:
        BadInputError: Some of the queries, keys and values are missing.
    """
    for mark, rename in ((TORCHVISION, _torchvision), (TRANSFORMERS, _transformers)):
        prefixes = {found[1] for found in map(mark.match, weights) if found}
        if prefixes:
            prefix = min(prefixes, key=len)
            return rename(
                {
                    name.removeprefix(prefix): value
                    for name, value in weights.items()
                    if name.startswith(prefix)
                }
            )
    return dict(weights)


def _torchvision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    version_2 = any(name.endswith('.logit_scale') for name in weights)
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        name = _translate(name, FROM_TORCHVISION)
        # Stages and patch mergings alternate.
        place = re.match(r'features\.(\d+)\.(.*)', name)
        if place:
            stage, merges = divmod(int(place[1]) - 1, 2)
            name = f'layers.{stage}.{"downsample" if merges else "blocks"}.{place[2]}'
        if version_2 and name.endswith('.attn.qkv.bias'):
            queries, _, values = value.chunk(3)  # that of the keys is taken for 0
            at = name.removesuffix('qkv.bias')
            renamed |= {f'{at}q_bias': queries, f'{at}v_bias': values}
        else:
            renamed[name] = value
    return renamed


def _transformers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in weights.items():
        name = _translate(name, FROM_TRANSFORMERS)
        # A norm for each returned output, counted from 1.
        output = re.fullmatch(r'hidden_states_norms\.stage(\d+)\.(.*)', name)
        if output:
            name = f'norm{int(output[1]) - 1}.{output[2]}'
        renamed[name] = value
    for at in [name.removesuffix('query.weight') for name in renamed if _is_query(name)]:
        lacking = [part for part in PARTS if f'{at}{part}.weight' not in renamed]
        if lacking:
            raise BadInputError(
                f"The checkpoint has Swin's names of transformers, and lacks {lacking[0]} of {at!r}"
                ' (query, key and value); save all of its weights.'
            )
        weight = torch.cat([renamed.pop(f'{at}{part}.weight') for part in PARTS])
        biases = {p: renamed.pop(f'{at}{p}.bias') for p in PARTS if f'{at}{p}.bias' in renamed}
        renamed[f'{at}qkv.weight'] = weight
        if len(biases) == len(PARTS):
            renamed[f'{at}qkv.bias'] = torch.cat(list(biases.values()))
        elif len(biases) == 2:  # Swin V2, whose keys have none
            renamed |= {f'{at}q_bias': biases['query'], f'{at}v_bias': biases['value']}
    return renamed


def _is_query(name: str) -> bool:
    return name.endswith('.attn.query.weight')


def _translate(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
