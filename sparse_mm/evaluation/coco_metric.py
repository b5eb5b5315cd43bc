"""mmdet's COCO metric at full precision, over just the images that were predicted."""

from tempfile import TemporaryDirectory
from typing import Any

from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load

ITEMS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


class FullPrecisionCocoMetric(CocoMetric):
    """Box and mask AP for comparing models on a part of a data set.

    ``CocoMetric`` rounds to three decimals, which makes ties of close candidates, and counts every
    image of the annotation file, predicted or not.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes AP.

        Args:
            results: Pairs of truth and prediction of each image, from ``process``.

        Returns:
            ``bbox_mAP``, ``segm_mAP`` and their parts, in [0, 1]; 0 where nothing was found.
        """
        truths, predictions = zip(*results, strict=True)
        image_ids = [prediction['img_id'] for prediction in predictions]
        metrics: dict[str, float] = {}
        with TemporaryDirectory() as folder:
            prefix = f'{folder}/results'
            truth = self._coco_api or COCO(self.gt_to_coco_json(truths, prefix))
            self.cat_ids = truth.get_cat_ids(cat_names=self.dataset_meta['classes'])
            files = self.results2json(predictions, prefix)
            for kind in (name for name in self.metrics if name in ('bbox', 'segm')):
                stats = self._average_precisions(truth, kind, load(files[kind]), image_ids)
                metrics.update(
                    {f'{kind}_{item}': ap for item, ap in zip(ITEMS, stats, strict=True)}
                )
        return metrics

    def _average_precisions(
        self, truth: COCO, kind: str, found: list[dict[str, Any]], image_ids: list[int]
    ) -> list[float]:
        if not found:
            return [0.0] * len(ITEMS)
        if kind == 'segm':
            for item in found:
                item.pop('bbox')  # or the box's area would stand for the mask's
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.params.catIds = self.cat_ids
        evaluation.params.imgIds = image_ids
        evaluation.params.maxDets = list(self.proposal_nums)
        evaluation.params.iouThrs = self.iou_thrs
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return [float(ap) for ap in evaluation.stats[: len(ITEMS)]]
