"""What a sparse config starts from: a whole trained model, or a Swin for its backbone alone."""

import os
from typing import Any

from mmengine.registry import MODELS

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checks import check_part, report
from sparse_mm.models.backbones.swin_weights import layout_of
from sparse_mm.named_weights import weights_of


def is_whole_model(checkpoint: str, place: tuple[str, ...]) -> bool:
    """Whether a checkpoint is one of a config's whole model, not of a Swin alone.

    Args:
        checkpoint: Its file; what must be downloaded first is taken for a whole model's.
        place: Where the backbone stands in the model.

    Raises:
        BadInputError: It cannot be read.
    """
    if '://' in checkpoint:
        return True
    weights = weights_of(read_checkpoint(checkpoint), checkpoint)
    prefix = '.'.join(place) + '.'
    inside = [name for name in weights if name.startswith(prefix)]
    # Other libraries' names fit no model of a host, wherever they stand.
    return layout_of(weights) is None and 0 < len(inside) < len(weights)


def start_backbone(
    swin: dict[str, Any], settings: dict[str, Any], checkpoint: str, whole: bool
) -> dict[str, Any]:
    """What a sparse config says of its backbone, for it to start from a checkpoint.

    The backbone is built and started once, so what does not fit is found now.

    Args:
        swin: The host's settings of the backbone.
        settings: The sparse ones.
        checkpoint: Its file, or an address.
        whole: Whether it is the whole model's, which the config loads by ``load_from``.

    Returns:
        The settings with what the backbone starts from.

    Raises:
        BadInputError: The checkpoint cannot be read, or has no weights of this backbone.
    """
    own = settings | {name: None for name in ('init_cfg', 'pretrained') if swin.get(name)}
    if not whole:
        own['init_cfg'] = dict(type='Pretrained', checkpoint=os.path.abspath(checkpoint))
    backbone = MODELS.build({**swin, **own})
    if not whole:
        backbone.init_weights()
    elif '://' not in checkpoint:
        report(check_part(checkpoint, backbone))
    return own
