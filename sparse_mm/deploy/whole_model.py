"""A whole model as one graph, without post-processing whose sizes depend on the image.

Classifiers return scores, segmentors logits in the size of the images, detectors the outputs of
neck and dense head. Decoding and non-maximum suppression have sizes that depend on the image;
:func:`finish_detection` does them.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sparse_mm.errors import BadInputError

CLASSIFIER, SEGMENTOR, DETECTOR = 'classifier', 'segmentor', 'detector'


def kind_of_model(model: Any) -> str:
    """Which of the kinds a host's model is.

    Raises:
        BadInputError: It is none of them.
    """
    if hasattr(model, 'encode_decode'):
        return SEGMENTOR
    has_queries = hasattr(model, 'encoder') or hasattr(model, 'decoder')  # DETR and its kind
    has_neck = getattr(model, 'neck', None) is not None
    if _dense_head(model) is not None and has_neck and not has_queries:
        return DETECTOR
    if hasattr(model, 'extract_feat') and getattr(model, 'head', None) is not None:
        return CLASSIFIER
    raise BadInputError(
        f'A {type(model).__name__} cannot be exported whole: it is no classifier, no segmentor, '
        'and no detector with a neck and a head that computes every position; export its '
        'backbone, by export.py without --whole.'
    )


def _dense_head(model: Any) -> Any:
    """The head that computes every position: RPN, or a one-stage detector's only head."""
    for name in ('rpn_head', 'bbox_head'):
        head = getattr(model, name, None)
        if isinstance(head, nn.Module) and hasattr(head, 'predict_by_feat'):
            return head
    return None


class WholeModel(nn.Module):
    """A model from images to what can be exported of it.

    Args:
        model: A host's model, in evaluation mode.
        image_size: ``(H, W)`` of its images.

    Attributes:
        kind: Of the model.
        has_several_labels: Whether a classifier's scores are of labels that may occur together.
        threshold: Of a segmentor with one logit: the sigmoid above which a pixel is of class 1.

    Raises:
        BadInputError: The model is of no kind that can be exported.
    """

    def __init__(self, model: nn.Module, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.kind = kind_of_model(model)
        self.model: Any = model
        self.image_size = image_size
        kinds = {kind.__name__ for kind in type(getattr(model, 'head', None)).mro()}
        self.has_several_labels = 'MultiLabelClsHead' in kinds
        self.threshold: float | None = None
        head: Any = getattr(model, 'decode_head', None)
        if self.kind == SEGMENTOR and getattr(head, 'out_channels', None) == 1:
            self.threshold = float(head.threshold)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Computes ``(B, C, H, W)`` or clips; :meth:`describe` names what comes out.

        Raises:
            BadInputError: It is a classifier that gives no ``(B, classes)``.
        """
        if self.kind == CLASSIFIER:
            logits = self.model(images, mode='tensor')  # (B, classes)
            if not isinstance(logits, Tensor) or logits.dim() != 2:
                raise BadInputError(
                    f'A {type(self.model.head).__name__} gives no single row of logits, so the '
                    'model cannot be exported whole; export its backbone, by export.py without '
                    '--whole.'
                )
            return (logits.sigmoid() if self.has_several_labels else logits.softmax(dim=-1),)
        if self.kind == SEGMENTOR:
            shape = dict.fromkeys(('ori_shape', 'img_shape', 'pad_shape'), self.image_size)
            metas = [shape] * images.shape[0]
            return (self.model.encode_decode(images, metas),)  # (B, classes, H, W)
        features = self.model.extract_feat(images)
        raw = _dense_head(self.model)(features)
        return (*features, *(level for output in raw for level in output))

    def describe(self, images: Tensor) -> tuple[list[Tensor], list[str], int]:
        """Runs it once: its outputs, their names, and how many of them are the neck's maps."""
        outputs = list(self(images))
        if self.kind != DETECTOR:
            return outputs, ['scores' if self.kind == CLASSIFIER else 'logits'], 0
        levels = len(self.model.extract_feat(images))
        raw = range((len(outputs) - levels) // levels)
        names = [f'feature{i}' for i in range(levels)]
        return outputs, [*names, *(f'raw{j}_{i}' for j in raw for i in range(levels))], levels


def finish_detection(
    model: Any, outputs: Sequence[Tensor], levels: int, samples: Sequence[Any]
) -> list[Any]:
    """Computes detections from an exported detector's outputs, with the rest of the model.

    Args:
        model: The detector that was exported, with its weights, in evaluation mode.
        outputs: Of the graph: the neck's maps, then those of the dense head, output by output.
        levels: How many maps the neck gives.
        samples: The host's data samples of the images, with their sizes and scale factors.

    Returns:
        The samples, with ``pred_instances``.
    """
    features, raw = tuple(outputs[:levels]), outputs[levels:]
    grouped = [list(raw[i : i + levels]) for i in range(0, len(raw), levels)]
    metas = [sample.metainfo for sample in samples]
    head = _dense_head(model)
    if not hasattr(model, 'roi_head') or model.roi_head is None:
        found = head.predict_by_feat(*grouped, batch_img_metas=metas, rescale=True)
    else:
        proposals = head.predict_by_feat(*grouped, batch_img_metas=metas, rescale=False)
        found = model.roi_head.predict(features, proposals, list(samples), rescale=True)
    return list(model.add_pred_to_datasample(list(samples), found))
