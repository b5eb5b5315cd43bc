"""mmdet's metric of Pascal VOC at full precision."""

from mmdet.evaluation import VOCMetric


class FullPrecisionVOCMetric(VOCMetric):
    """What ``VOCMetric`` gives; that rounds the AP at each threshold to three decimals."""

    iou_thrs: list[float]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes AP at each threshold and its mean, or recalls, which the host does not round.

        Args:
            results: Pairs of truth and prediction of each image, from ``process``.

        Returns:
            ``mAP``, ``AP50``, …, or ``recall@NUMBER@THRESHOLD`` and ``AR@NUMBER``.
        """
        plain = super().compute_metrics
        if self.metric != 'mAP':
            return dict(plain(results))
        thresholds = self.iou_thrs

        found = []
        try:
            for threshold in thresholds:  # alone: their mean is not rounded
                self.iou_thrs = [threshold]
                found.append(float(plain(results)['mAP']))
        finally:
            self.iou_thrs = thresholds
        names = [f'AP{int(threshold * 100):02d}' for threshold in thresholds]
        return {'mAP': sum(found) / len(found), **dict(zip(names, found, strict=True))}
