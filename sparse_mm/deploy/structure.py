"""What a backbone returns: a tensor, or a tuple or list of them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.swin_backbone import SwinBackbone

KINDS: dict[str, Any] = {'tuple': tuple, 'list': list, 'tensor': lambda outputs: outputs[0]}


def kind_of(outputs: Any) -> str:
    """Names the structure of a backbone's outputs.

    Raises:
        BadInputError: It is another one than a tensor, a tuple or a list of them.
    """
    if isinstance(outputs, Tensor):
        return 'tensor'
    plain = type(outputs) in (tuple, list) and all(isinstance(out, Tensor) for out in outputs)
    if not plain:
        raise BadInputError(
            f'A backbone that returns a {type(outputs).__name__} cannot be deployed; it must '
            'return a tensor, or a tuple or list of tensors.'
        )
    return type(outputs).__name__


def flat_outputs(outputs: Any) -> list[Tensor]:
    """Lists the tensors that a backbone returned."""
    return [outputs] if kind_of(outputs) == 'tensor' else list(outputs)


def restore(outputs: Sequence[Tensor], kind: str) -> Any:
    """Undoes :func:`flat_outputs`."""
    return KINDS[kind](outputs)


def output_names(backbone: nn.Module, count: int | None = None) -> list[str]:
    """Names what a backbone gives.

    Args:
        backbone: One of ours, or any.
        count: How many outputs there are; needed of a backbone that is none of ours.
    """
    if isinstance(backbone, SwinBackbone):
        return [f'stage{i}' for i in backbone.out_indices]
    out_type = getattr(backbone, 'out_type', None)
    if out_type in ('pooled', 'tokens'):
        return ['pooled'] if out_type == 'pooled' else ['tokens', 'rois', 'features']
    return [f'out{i}' for i in range(count or 1)]
