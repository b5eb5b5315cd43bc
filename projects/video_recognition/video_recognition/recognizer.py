"""A classifier of clips, seen from one view or several."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.registry import MODELS
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor

from sparse_mm.errors import BadInputError


@MODELS.register_module()
class ClipPreprocessor(ClsDataPreprocessor):
    """mmpretrain's preprocessor for clips ``(B, 3, T, H, W)`` and views ``(B, V, 3, T, H, W)``.

    Mixup and CutMix treat a clip's frames alike: CutMix cuts the same box out of each.

    Args:
        **kwargs: As for ``ClsDataPreprocessor``; frames are RGB already.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self._enable_normalize:
            self.mean, self.std = self.mean.unsqueeze(-1), self.std.unsqueeze(-1)  # (3, 1, 1, 1)
        if self.batch_augments is not None:
            self.batch_augments = _over_frames(self.batch_augments)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalises and mixes a batch."""
        inputs = data['inputs']
        if not isinstance(inputs, Tensor):
            data = {**data, 'inputs': torch.stack(list(inputs))}
        return super().forward(data, training)


def _over_frames(augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Any:
    """Lets an augmentation of images ``(B, C, H, W)`` work on clips, as images of more channels."""

    def run(clips: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        images, scores = augment(clips.flatten(1, 2), scores)
        return images.unflatten(1, clips.shape[1:3]), scores

    return run


@MODELS.register_module()
class ClipRecognizer(ImageClassifier):
    """Recognises clips; scores of several views of a video are averaged.

    Args:
        max_views: Views that are computed at once in testing, of all videos of a batch together: it
            bounds memory and changes no score. Defaults to 4.
        **kwargs: As for mmpretrain's ``ImageClassifier``: ``backbone``, ``head``, ``train_cfg``
            (mixup and the like), ``data_preprocessor``.

    Raises:
        BadInputError: ``max_views`` is below 1, or head and preprocessor have other numbers of
            classes.
    """

    def __init__(self, *args: Any, max_views: int = 4, **kwargs: Any) -> None:
        if max_views < 1:
            raise BadInputError(f'max_views must be at least 1, not {max_views}.')
        kwargs['data_preprocessor'] = {
            'type': 'ClipPreprocessor',
            **(kwargs.get('data_preprocessor') or {}),
        }
        super().__init__(*args, **kwargs)
        mixed, told = (
            getattr(part, 'num_classes', None) for part in (self.data_preprocessor, self.head)
        )
        if None not in (mixed, told) and mixed != told:
            raise BadInputError(
                f'The data_preprocessor mixes labels of {mixed} classes, and the head has {told}; '
                'set num_classes of both to the same.'
            )
        self.max_views = max_views

    def predict(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        **kwargs: Any,
    ) -> list[DataSample]:
        """Recognises each video.

        Args:
            inputs: Clips ``(B, 3, T, H, W)``, or views ``(B, V, 3, T, H, W)``.
            data_samples: Of each video. Defaults to None.
            **kwargs: Unused; mmpretrain's own models take some.

        Returns:
            The samples with ``pred_score``, the mean of the views' probabilities, and
            ``pred_label``.
        """
        views = inputs if inputs.dim() == 6 else inputs.unsqueeze(1)
        batch, count = views.shape[:2]
        scores = torch.cat(
            [
                self.head(self.extract_feat(chunk)).float().softmax(-1)
                for chunk in views.flatten(0, 1).split(self.max_views)
            ]
        )  # (B * V, classes)
        scores = scores.unflatten(0, (batch, count)).mean(dim=1)  # (B, classes)
        samples = data_samples or [DataSample() for _ in range(batch)]
        for sample, score in zip(samples, scores, strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax(keepdim=True))
        return samples
