"""Checks that a checkpoint can be read and belongs to the model."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checkpoint_loader import found_by_mmengine
from sparse_mm.engine.inspection import backbone_name, main_backbone
from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.swin_weights import layout_of
from sparse_mm.models.pretrained import warn_of_constants
from sparse_mm.named_weights import first_few, mismatches, not_finite, part_of, weights_of


def check_checkpoint_file(path: str) -> list[str]:
    """Checks, before any model is built, that a file can be read and holds weights.

    Args:
        path: The checkpoint; one that must be downloaded is left to :func:`check_checkpoint`.
    """
    if '://' in path:
        return []
    try:
        weights_of(read_checkpoint(path), path)
    except BadInputError as error:
        return [str(error)]
    return []


def check_checkpoint(path: str, model: nn.Module, whole: bool) -> list[str]:
    """Checks that a checkpoint belongs to a model, before anything is loaded.

    Args:
        path: The checkpoint.
        model: The model, built; for distributed training, in its wrapper.
        whole: Whether every weight must be there and fit, as for testing and resuming; otherwise
            (fine-tuning) only the backbone's must fit, since other heads are replaced.

    A warning is given if it fits but needs other constants than the model's.

    Returns:
        What is wrong with it: it cannot be read, or it belongs to another model.
    """
    try:
        checkpoint = read_checkpoint(path)
        weights = weights_of(checkpoint, path)
    except BadInputError as error:
        return [str(error)]
    if '://' in path and not found_by_mmengine(checkpoint, path):
        return [
            f'The checkpoint {path!r} keeps its weights where MMEngine does not look for them; '
            'download it, and name the file, in which they are found.'
        ]
    bare: Any = model.module if is_model_wrapper(model) else model
    if not isinstance(bare, nn.Module):  # MMEngine's FlexibleRunner builds it later
        return []
    wrong = mismatches(weights, bare.state_dict())
    if not whole:
        prefix = backbone_name(bare)
        wrong = [name for name in wrong if name.startswith(prefix)]
    problems = _of_another_model(path, weights, bare, wrong, whole)
    if not problems:
        warn_of_constants(checkpoint, path, main_backbone(bare))
    return problems


def check_part(path: str, part: nn.Module) -> list[str]:
    """Checks that a model's checkpoint holds all weights of a part, such as its backbone.

    Args:
        path: The checkpoint, of a whole model or of the part alone.
        part: The part, built.
    """
    try:
        checkpoint = read_checkpoint(path)
        weights = part_of(weights_of(checkpoint, path), part.state_dict())
    except BadInputError as error:
        return [str(error) if repr(path) in str(error) else f'{path!r}: {error}.']
    problems = _of_another_model(path, weights, part, mismatches(weights, part.state_dict()), True)
    if not problems:
        warn_of_constants(checkpoint, path, part)
    return problems


def _of_another_model(
    path: str, weights: dict[str, Tensor], model: nn.Module, wrong: list[str], whole: bool
) -> list[str]:
    if wrong:
        return [
            f'The checkpoint {path!r} is of another model, its shapes differ: {first_few(wrong)}.'
        ]
    # By the names of state_dict: a DeployedBackbone's weights have those of its backbone there.
    own = model.state_dict(keep_vars=True)
    needed = [name for name, value in own.items() if isinstance(value, nn.Parameter)]
    missing = [name for name in needed if name not in weights]
    # For fine-tuning: a backbone that would start from random weights beside trained heads.
    prefix = '' if whole else backbone_name(model)
    inner = [name for name in needed if name.startswith(prefix)]
    lacking = [name for name in missing if name.startswith(prefix)]
    if len(lacking) > len(inner) / 2 or (whole and missing):
        return [
            f'The checkpoint {path!r} is of another model: it lacks {first_few(lacking)} (and has '
            f'{first_few([name for name in weights if name not in own]) or "nothing else"})'
            f'{_advice(weights, model, whole)}.'
        ]
    broken = not_finite(weights, needed)
    if broken:
        return [
            f'The checkpoint {path!r} has NaN or infinity in {first_few(broken)}, as a training '
            'that diverged leaves them; take an earlier one.'
        ]
    return []


def _advice(weights: dict[str, Tensor], model: nn.Module, whole: bool) -> str:
    """What such weights are, and what to do with them: ends a sentence."""
    start = (
        "; to start the backbone from it, name it in the backbone's init_cfg=dict("
        "type='Pretrained', checkpoint=…)"
    )
    layout = layout_of(weights)
    if layout is not None:
        return f", which are {layout}'s names of Swin{'' if whole else start}"
    if whole:
        try:
            inner = part_of(weights, model.state_dict())
        except BadInputError:
            return ''
        before = next(iter(weights)).removesuffix(next(iter(inner), ''))
        every = all(name in inner for name, _ in model.named_parameters())
        return f'; save it without the {before!r} before all of its names' if every else ''
    backbone = main_backbone(model)
    try:
        inner = part_of(weights, backbone.state_dict())
    except BadInputError:
        return ''
    names = [name for name, _ in backbone.named_parameters()]
    kept = sum(name in inner for name in names)
    return start if backbone is not model and kept > len(names) / 2 else ''
