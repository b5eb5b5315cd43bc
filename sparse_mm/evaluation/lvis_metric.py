"""mmdet's LVIS metric at full precision, over just the images that were predicted."""

from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmdet.evaluation import LVISMetric

# Of boxes and masks, and of proposals, as the host gives them.
ITEMS = 'AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf'
PROPOSAL_ITEMS = 'AR@300', 'ARs@300', 'ARm@300', 'ARl@300'


class FullPrecisionLVISMetric(LVISMetric):
    """What ``LVISMetric`` gives, for comparing models on a part of a data set.

    ``LVISMetric`` rounds to three decimals, and counts every image of the annotation file.
    """

    _lvis_api: Any

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes AP and AR.

        Args:
            results: Pairs of truth and prediction of each image, from ``process``.

        Returns:
            What the host's metric gives: ``bbox_AP``, …, ``CLASS_precision``; 0 where nothing was
            found, NaN for classes that no image has.
        """
        from lvis import LVIS  # the host's metric asked for it

        truths, predictions = zip(*results, strict=True)
        self.img_ids = [prediction['img_id'] for prediction in predictions]
        metrics: dict[str, float] = {}
        with TemporaryDirectory() as folder:
            prefix = f'{folder}/results'
            truth = self._lvis_api or LVIS(self.gt_to_coco_json(truths, prefix))
            self._lvis_api = truth
            self.cat_ids = truth.get_cat_ids()
            files = self.results2json(predictions, prefix)
            for kind in self.metrics:
                if kind == 'proposal_fast':
                    recalls = self.fast_eval_recall(predictions, self.proposal_nums, self.iou_thrs)
                    named = zip(self.proposal_nums, recalls, strict=True)
                    metrics |= {f'AR@{number}': float(value) for number, value in named}
                else:
                    metrics |= self._evaluate(truth, kind, files[kind])
        return metrics

    def _evaluate(self, truth: Any, kind: str, file: str) -> dict[str, float]:
        """One of ``bbox``, ``segm``, ``proposal``."""
        from lvis import LVISEval, LVISResults

        proposals = kind == 'proposal'
        items = self.metric_items or (PROPOSAL_ITEMS if proposals else ITEMS)
        names = {item: item if proposals else f'{kind}_{item}' for item in items}
        classes = [truth.load_cats([number])[0]['name'] for number in self.cat_ids]
        classwise = self.classwise and not proposals
        try:
            found = LVISResults(truth, file)
        except IndexError:  # there is no box
            absent = [f'{name}_precision' for name in classes] if classwise else []
            return dict.fromkeys([*names.values(), *absent], 0.0)
        evaluation = LVISEval(truth, found, 'bbox' if proposals else kind)
        evaluation.params.img_ids = list(self.img_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        given = evaluation.get_results()
        metrics = {name: float(given[item]) for item, name in names.items() if item in given}
        if classwise:
            # (IoU, recall, class, area); the first area is all.
            precisions = evaluation.eval['precision'][:, :, :, 0]
            for i, name in enumerate(classes):
                own = precisions[:, :, i]
                own = own[own > -1]
                metrics[f'{name}_precision'] = float(np.mean(own)) if own.size else float('nan')
        return metrics
