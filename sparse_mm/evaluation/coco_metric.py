"""mmdet's COCO metric at full precision, over just the images that were predicted."""

import math
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load

from sparse_mm.errors import BadInputError
from sparse_mm.evaluation.leave_out import CONDITIONS, precision_without

# Where COCOeval keeps them.
ITEMS = {
    **{'mAP': 0, 'mAP_50': 1, 'mAP_75': 2, 'mAP_s': 3, 'mAP_m': 4, 'mAP_l': 5},
    **{'AR@100': 6, 'AR@300': 7, 'AR@1000': 8},
    **{'AR_s@1000': 9, 'AR_m@1000': 10, 'AR_l@1000': 11},
}
# Areas in square pixels, by the ends of their names.
SIZES = {'_s': (0, 32**2), '_m': (32**2, 96**2), '_l': (96**2, 1e10)}


class FullPrecisionCocoMetric(CocoMetric):
    """What ``CocoMetric`` gives, for comparing models on a part of a data set.

    ``CocoMetric`` rounds to three decimals, which makes ties of close candidates, and counts every
    image of the annotation file, predicted or not. Its settings hold here, too: ``metric``,
    ``classwise``, ``metric_items``, ``proposal_nums``, ``iou_thrs``.
    """

    evaluations: dict[str, COCOeval]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes AP and AR.

        Args:
            results: Pairs of truth and prediction of each image, from ``process``.

        Returns:
            What the host's metric gives, in [0, 1]: ``bbox_mAP``, ``segm_mAP`` and their parts,
            ``CLASS_precision``, ``AR@100`` and so on; 0 where nothing was found. Where no image
            has an object: -1 for a size, as COCOeval has it, NaN for a class.

        Raises:
            BadInputError: The metric is set to write its files alone, or ``metric_items`` names
                what there is not.
        """
        if self.format_only:
            raise BadInputError(
                'CocoMetric has format_only=True: it writes predictions and computes no score; set '
                'val_evaluator.format_only=False and name an ann_file with the truth.'
            )
        unknown = [item for item in self.metric_items or () if item not in ITEMS]
        if unknown:
            raise BadInputError(
                f'CocoMetric has the metric_items {unknown}; there are {", ".join(ITEMS)}.'
            )
        truths, predictions = zip(*results, strict=True)
        image_ids = [prediction['img_id'] for prediction in predictions]
        metrics: dict[str, float] = {}
        self.evaluations = {}
        with TemporaryDirectory() as folder:
            prefix = f'{folder}/results'
            truth: COCO = getattr(self, '_coco_api', None) or COCO(
                self.gt_to_coco_json(truths, prefix)
            )
            self.cat_ids = truth.get_cat_ids(cat_names=self.dataset_meta['classes'])
            files = self.results2json(predictions, prefix)
            for kind in self.metrics:
                if kind == 'proposal_fast':
                    self._coco_api, self.img_ids = truth, image_ids  # which it reads
                    recalls = self.fast_eval_recall(predictions, self.proposal_nums, self.iou_thrs)
                    metrics |= {
                        f'AR@{n}': float(v)
                        for n, v in zip(self.proposal_nums, recalls, strict=True)
                    }
                else:
                    metrics |= self._evaluate(truth, kind, load(files[kind]), image_ids)
        return metrics

    def compute_without(self, name: str, results: list, parts: np.ndarray) -> np.ndarray | None:
        """Computes a value without each part of the images, after :meth:`compute_metrics`.

        Args:
            name: ``'bbox_mAP'``, ``'segm_mAP_50'``.
            results: As for :meth:`compute_metrics`.
            parts: ``(images,)`` int, which part each image belongs to.

        Returns:
            ``(parts,)``; None where that cannot be had: of recalls, or where nothing was found.
        """
        kind, _, item = name.partition('_')
        evaluation = self.evaluations.get(kind)
        self.evaluations = {}  # they are large
        if evaluation is None or item not in CONDITIONS:
            return None
        images = [prediction['img_id'] for _, prediction in results]
        part_of = dict(zip(images, parts.tolist(), strict=True))
        return precision_without(evaluation, item, part_of, int(parts.max()) + 1)[1]

    def _objects(self, truth: COCO, image_ids: list[int]) -> Callable[..., bool]:
        """Tells whether images have an object of a class, and of the size of one of ITEMS."""
        found = truth.loadAnns(truth.getAnnIds(imgIds=image_ids, catIds=self.cat_ids))
        found = [one for one in found if not one.get('iscrowd', 0)]

        def has(number: int | None = None, size: str = '') -> bool:
            low, high = SIZES.get(size.partition('@')[0][-2:], (0, math.inf))
            return any(
                low <= one['area'] <= high and number in (None, one['category_id']) for one in found
            )

        return has

    def _evaluate(
        self, truth: COCO, kind: str, found: list[dict[str, Any]], image_ids: list[int]
    ) -> dict[str, float]:
        """One of ``bbox``, ``segm``, ``proposal``."""
        proposals = kind == 'proposal'
        items = self.metric_items or [name for name in ITEMS if ('AR' in name) == proposals]
        names = {item: item if proposals else f'{kind}_{item}' for item in items}
        classes = [item['name'] for item in truth.loadCats(self.cat_ids)]
        classwise = self.classwise and not proposals
        if not found:
            own = self._objects(truth, image_ids)
            nothing = {name: 0.0 if own(size=item) else -1.0 for item, name in names.items()}
            for name, number in zip(classes, self.cat_ids, strict=True) if classwise else ():
                nothing[f'{name}_precision'] = 0.0 if own(number) else math.nan
            return nothing
        if kind == 'segm':
            for item in found:
                item.pop('bbox')  # or the box's area would stand for the mask's
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox' if proposals else kind)
        evaluation.params.catIds = self.cat_ids
        evaluation.params.imgIds = image_ids
        evaluation.params.maxDets = list(self.proposal_nums)
        evaluation.params.iouThrs = self.iou_thrs
        evaluation.params.useCats = int(not proposals)
        evaluation.evaluate()
        if not proposals:
            self.evaluations[kind] = evaluation
        evaluation.accumulate()
        evaluation.summarize()
        metrics = {name: float(evaluation.stats[ITEMS[item]]) for item, name in names.items()}
        if classwise:
            # (IoU, recall, class, area, detections); the first area is all, the last count is most.
            precisions = evaluation.eval['precision'][:, :, :, 0, -1]
            for i, name in enumerate(classes):
                own = precisions[:, :, i]
                own = own[own > -1]
                metrics[f'{name}_precision'] = float(np.mean(own)) if own.size else float('nan')
        return metrics
