"""Loading a checkpoint into a backbone, with a clear error message if it does not fit."""

from collections.abc import Callable, Mapping
from typing import Any

from mmengine.logging import MMLogger
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.errors import BadInputError, nearest
from sparse_mm.named_weights import first_few, mismatches, not_finite, part_of, weights_of


def backbone_weights(weights: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Selects the backbone's weights of a whole model; a backbone's own stay unchanged.

    Raises:
        BadInputError: Several parts of the model have these names.
    """
    return part_of(weights, backbone.state_dict())


def describe_widths(weights: Mapping[str, Tensor], archs: Mapping[str, Mapping[str, Any]]) -> str:
    """Names the SparseFormer that weights look like, by their widths."""
    for name in 'transition.0.weight', 'transition.weight':
        if name in weights:
            dims = tuple(weights[name].shape[::-1])
            alike = [f'arch={arch!r}' for arch, own in archs.items() if own['dims'] == dims]
            return f'; it looks like {" or ".join(alike) or f"another one of widths {dims}"}'
    return ''


def warn_of_constants(checkpoint: Mapping[str, Any], path: str, backbone: nn.Module) -> None:
    """Warns if a converted checkpoint needs other constants than the backbone has.

    Args:
        checkpoint: As read; the converter's ``meta`` names its constants.
        path: Its file.
        backbone: Takes its weights; one without constants has nothing to say.
    """
    meta = checkpoint.get('meta')
    needed = meta.get('constants') if isinstance(meta, Mapping) else None
    own = getattr(backbone, 'constants', needed)
    if needed is not None and own != needed:
        MMLogger.get_current_instance().warning(
            f'{path!r} gives its outputs with constants={needed!r}, and this '
            f'{type(backbone).__name__} has constants={own!r}, so it gives others; set '
            f'model.backbone.constants={needed} where they shall be the same.'
        )


def load_pretrained(
    backbone: nn.Module,
    path: str,
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    family: str,
    describe: Callable[[Mapping[str, Tensor]], str] = lambda weights: '',
    hint: str = '',
    prefix: str | None = None,
) -> None:
    """Loads a checkpoint into a backbone.

    Args:
        backbone: Takes the weights.
        path: The checkpoint, of the backbone or of a model with it.
        prepare: Fits the checkpoint's weights to the backbone's names and sizes.
        family: What the checkpoint should be of, for messages: ``'Swin'``.
        describe: Says what weights that do not fit look like, after a semicolon.
        hint: What to try if none of the weights is there.
        prefix: What the names of the backbone's weights begin with, as MMEngine's ``Pretrained``
            takes it; None to find out.

    Raises:
        BadInputError: The checkpoint cannot be read, or it is one of another model: of other
            shapes, or with less than half of the weights.
    """
    checkpoint = read_checkpoint(path)
    found = weights_of(checkpoint, path)
    try:
        weights = prepare(_below(prefix, found) if prefix else found)
    except BadInputError as error:
        raise BadInputError(f'{path!r}: {error}') from error
    wrong = mismatches(weights, backbone.state_dict())
    if wrong:
        raise BadInputError(
            f'The checkpoint {path!r} does not fit this {type(backbone).__name__}: '
            f'{first_few(wrong)}{describe(weights)}.'
        )
    needed = dict(backbone.named_parameters())
    broken = not_finite(weights, needed)
    if broken:
        raise BadInputError(
            f'The checkpoint {path!r} has NaN or infinity in {first_few(broken)}, as a training '
            'that diverged leaves them; take an earlier one.'
        )
    result = backbone.load_state_dict(weights, strict=False)
    missing = [name for name in result.missing_keys if name in needed]
    present = len(needed) - len(missing)
    if not present:
        raise BadInputError(
            f'The checkpoint {path!r} has none of the weights of a {family} backbone (it has '
            f'{first_few(list(weights))}){hint}.'
        )
    if present < len(needed) / 2:
        raise BadInputError(
            f'The checkpoint {path!r} has {present} of the {len(needed)} weights of this '
            f'{type(backbone).__name__}, too few to start from; it lacks {first_few(missing)}.'
        )
    warn_of_constants(checkpoint, path, backbone)
    logger = MMLogger.get_current_instance()
    if missing:
        logger.warning(f'{path!r} lacks {first_few(missing)}; these start from scratch.')
    if result.unexpected_keys:
        logger.info(f'{path!r} has weights not used: {first_few(result.unexpected_keys)}.')


def split_init_cfg(init_cfg: Any) -> tuple[list[dict], dict | None]:
    """Reads an ``init_cfg`` in any of MMEngine's forms.

    Args:
        init_cfg: None, an initialiser, or a list of them.

    Returns:
        The initialisers in their order, and ``Pretrained`` by itself, or None.

    Raises:
        BadInputError: One is none, or ``Pretrained`` names no checkpoint.
    """
    given = init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]
    others, pretrained = [], None
    for one in given:
        if one is None:
            continue
        if not isinstance(one, Mapping) or 'type' not in one:
            raise BadInputError(
                'init_cfg must be a dict with a type, such as '
                f"dict(type='Pretrained', checkpoint='weights.pth'), or a list, not {one!r}."
            )
        kind = one['type'] if isinstance(one['type'], str) else one['type'].__name__
        if kind in ('Pretrained', 'PretrainedInit'):
            if not one.get('checkpoint'):
                raise BadInputError(
                    "init_cfg has type='Pretrained' without a checkpoint; name one "
                    '(model.backbone.init_cfg.checkpoint), or set init_cfg=None to start from '
                    'scratch.'
                )
            pretrained = dict(one)
        elif isinstance(one['type'], str) and WEIGHT_INITIALIZERS.get(kind) is None:
            near = nearest(kind, WEIGHT_INITIALIZERS.module_dict)
            raise BadInputError(f'init_cfg has the unknown type {kind!r}{near or "."}')
        else:
            others.append(dict(one))
    return others, pretrained


def _below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = prefix if prefix.endswith('.') else f'{prefix}.'
    inner = {
        name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)
    }
    if not inner:
        raise BadInputError(
            f'no weight begins with the prefix {prefix!r} of init_cfg (it has '
            f'{first_few(list(weights))}); set the right one, or none.'
        )
    return inner
