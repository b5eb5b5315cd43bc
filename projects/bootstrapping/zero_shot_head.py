"""Classification by the names of classes: CLIP's head without CLIP's text model."""

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.errors import BadInputError

MAKE_ONE = (
    'save the normalised text embeddings of your classes, made by the text model of the same CLIP, '
    "as torch.save({'embeddings': tensor}, FILE), (classes, channels), in the order of the labels"
)


@MODELS.register_module()
class ZeroShotHead(ClsHead):
    """Compares an image's embedding with those of the classes' names (Radford et al., ICML 2021).

    It is not trained: nothing is learnt beyond the projection, which comes with the checkpoint.

    Args:
        in_channels: Channels of the features.
        channels: Channels of the embeddings.
        embeddings: File with those of the classes; None gives the image's embedding instead of
            scores. Defaults to None.
        **kwargs: As for ``ClsHead``.

    Raises:
        BadInputError: The file is not there, or has embeddings of another size.
    """

    def __init__(
        self, in_channels: int, channels: int, embeddings: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.fc = nn.Linear(in_channels, channels, bias=False)
        self.embeddings: Tensor | None
        loaded = None if embeddings is None else read_embeddings(embeddings, channels)
        self.register_buffer('embeddings', loaded, persistent=False)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """``(B, in_channels)`` features -> cosines ``(B, classes)``, or embeddings."""
        x = F.normalize(self.fc(self.pre_logits(feats)), dim=-1)
        return x if self.embeddings is None else x @ self.embeddings.T

    def loss(self, feats: tuple[Tensor, ...], data_samples: Any, **kwargs: Any) -> dict:
        """Refuses: there is nothing to train.

        Raises:
            BadInputError: Always.
        """
        raise BadInputError(
            'ZeroShotHead is not trained by labels; train with projects/bootstrapping, or use a '
            'LinearClsHead.'
        )


def read_embeddings(path: str, channels: int) -> Tensor:
    """Reads a file of class embeddings: ``(classes, channels)`` float32.

    Raises:
        BadInputError: It is not there, or has another content.
    """
    if not Path(path).is_file():
        raise BadInputError(f'There are no class embeddings at {path!r}; {MAKE_ONE}.')
    found = read_checkpoint(path).get('embeddings')
    if not isinstance(found, Tensor) or found.dim() != 2 or found.shape[1] != channels:
        shape = tuple(found.shape) if isinstance(found, Tensor) else 'none'
        raise BadInputError(
            f'{path!r} must hold class embeddings of {channels} channels, but has {shape}; '
            f'{MAKE_ONE}.'
        )
    return F.normalize(found.float(), dim=-1)
