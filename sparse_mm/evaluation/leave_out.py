"""COCO's average precision without some of the images, from an evaluation of all of them.

Which detections match which objects does not change when other images are left out, so only the
curves are computed again, and only those of the classes that an image has.
"""

from collections.abc import Mapping

import numpy as np
from pycocotools.cocoeval import COCOeval

# Of the values that can be had so: the IoU threshold (None: all), the objects' sizes, and which
# limit of detections, as in COCOeval.summarize (None: 100, whichever place that has).
CONDITIONS: dict[str, tuple[float | None, str, int | None]] = {
    'mAP': (None, 'all', None),
    'mAP_50': (0.5, 'all', 2),
    'mAP_75': (0.75, 'all', 2),
    'mAP_s': (None, 'small', 2),
    'mAP_m': (None, 'medium', 2),
    'mAP_l': (None, 'large', 2),
}


def precision_without(
    evaluation: COCOeval, item: str, part_of: Mapping[int, int], num_parts: int
) -> tuple[float, np.ndarray]:
    """Computes a mean average precision on all images, and without each part of them.

    Args:
        evaluation: After ``evaluate()``.
        item: A key of :data:`CONDITIONS`.
        part_of: The part of each image, by its id.
        num_parts: How many there are.

    Returns:
        The value on all images, and ``(num_parts,)`` those without each part; NaN where no class
        is left.
    """
    params = evaluation.params
    threshold, size, limit = CONDITIONS[item]
    most = 100 if limit is None else params.maxDets[limit]
    rows = slice(None) if threshold is None else np.where(threshold == params.iouThrs)[0]
    area = params.areaRngLbl.index(size)
    images, areas = len(params.imgIds), len(params.areaRng)
    classes = len(params.catIds) if params.useCats else 1
    whole: list[float] = []
    sums, counts = np.zeros(num_parts), np.zeros(num_parts)
    for number in range(classes):
        start = (number * areas + area) * images
        found = [e for e in evaluation.evalImgs[start : start + images] if e is not None]
        if not found:
            continue
        parts = [part_of[e['image_id']] for e in found]
        truths = np.bincount(
            parts, [np.count_nonzero(np.equal(e['gtIgnore'], 0)) for e in found], num_parts
        )
        if not truths.sum():
            continue
        scores = np.concatenate([e['dtScores'][:most] for e in found])
        order = np.argsort(-scores, kind='mergesort')  # as COCOeval sorts
        owner = np.repeat(parts, [len(e['dtScores'][:most]) for e in found])[order]
        matched = np.concatenate([e['dtMatches'][:, :most] for e in found], axis=1)
        ignored = np.concatenate([e['dtIgnore'][:, :most] for e in found], axis=1)
        counted = ~ignored[rows][:, order].astype(bool)
        hits = (matched[rows][:, order] != 0) & counted
        misses = ~hits & counted
        whole.append(_average_precision(hits, misses, truths.sum(), params.recThrs))
        own = np.full(num_parts, whole[-1])
        for part in sorted({*owner.tolist(), *np.flatnonzero(truths).tolist()}):
            left, keep = truths.sum() - truths[part], owner != part
            own[part] = np.nan  # a class that no image has is in no mean
            if left:
                own[part] = _average_precision(hits[:, keep], misses[:, keep], left, params.recThrs)
        sums += np.nan_to_num(own)
        counts += ~np.isnan(own)
    with np.errstate(invalid='ignore'):
        return float(np.mean(whole)) if whole else np.nan, sums / counts


def _average_precision(
    hits: np.ndarray, misses: np.ndarray, truths: float, recalls: np.ndarray
) -> float:
    """Precision, averaged over recalls and thresholds, as ``COCOeval.accumulate`` does.

    Args:
        hits: ``(T, D)`` bool, for each threshold, by falling score.
        misses: ``(T, D)`` bool.
        truths: Objects to find.
        recalls: ``(R,)``.
    """
    hit, miss = hits.cumsum(axis=1), misses.cumsum(axis=1)
    precision = hit / (hit + miss + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.concatenate([envelope, np.zeros((len(hits), 1))], axis=1)
    found = [
        row[np.searchsorted(recall, recalls, side='left')].mean()
        for row, recall in zip(envelope, hit / truths, strict=True)
    ]
    return float(np.mean(found))
