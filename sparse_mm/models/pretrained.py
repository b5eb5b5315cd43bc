"""Starting a backbone from a checkpoint, with one clear sentence where it does not fit."""

from collections.abc import Callable, Mapping
from typing import Any

from mmengine.logging import MMLogger
from torch import Tensor, nn

from sparse_mm.checkpoints import first_few, mismatches, read_checkpoint, weights_of
from sparse_mm.errors import BadInputError


def backbone_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Takes a whole model's backbone; a backbone's own weights stay as they are."""
    inner = {
        name.removeprefix('backbone.'): value
        for name, value in weights.items()
        if name.startswith('backbone.')
    }
    return inner or dict(weights)


def describe_widths(weights: Mapping[str, Tensor], archs: Mapping[str, Mapping[str, Any]]) -> str:
    """Names the SparseFormer that weights look like, by their widths."""
    for name in 'transition.0.weight', 'transition.weight':
        if name in weights:
            dims = tuple(weights[name].shape[::-1])
            alike = [f'arch={arch!r}' for arch, own in archs.items() if own['dims'] == dims]
            return f'; it looks like {" or ".join(alike) or f"another one of widths {dims}"}'
    return ''


def load_pretrained(
    backbone: nn.Module,
    path: str,
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    family: str,
    describe: Callable[[Mapping[str, Tensor]], str] = lambda weights: '',
    hint: str = '',
) -> None:
    """Loads a checkpoint into a backbone.

    Args:
        backbone: Takes the weights.
        path: The checkpoint, of the backbone or of a model with it.
        prepare: Fits the checkpoint's weights to the backbone's names and sizes.
        family: What the checkpoint should be of, for messages: ``'Swin'``.
        describe: Says what weights that do not fit look like, after a semicolon.
        hint: What to try if none of the weights is there.

    Raises:
        BadInputError: The checkpoint cannot be read, or it is one of another model.
    """
    weights = prepare(weights_of(read_checkpoint(path), path))
    wrong = mismatches(weights, backbone.state_dict())
    if wrong:
        raise BadInputError(
            f'The checkpoint {path!r} does not fit this {type(backbone).__name__}: '
            f'{first_few(wrong)}{describe(weights)}.'
        )
    result = backbone.load_state_dict(weights, strict=False)
    needed = dict(backbone.named_parameters())
    missing = [name for name in result.missing_keys if name in needed]
    if len(missing) == len(needed):
        raise BadInputError(
            f'The checkpoint {path!r} has none of the weights of a {family} backbone (it has '
            f'{first_few(list(weights))}){hint}.'
        )
    logger = MMLogger.get_current_instance()
    if missing:
        logger.warning(f'{path!r} lacks {first_few(missing)}; these start from scratch.')
    if result.unexpected_keys:
        logger.info(f'{path!r} has weights not used: {first_few(result.unexpected_keys)}.')
