"""mmdet's metric of OpenImages at full precision."""

from mmdet.evaluation import OpenImagesMetric


class FullPrecisionOpenImagesMetric(OpenImagesMetric):
    """What ``OpenImagesMetric`` gives; that rounds the AP at each threshold to three decimals."""

    iou_thrs: list[float]
    ioa_thrs: list[float | None]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes AP at each threshold and its mean.

        Args:
            results: Pairs of truth and prediction of each image, from ``process``.

        Returns:
            ``AP50``, …, and ``mAP``.
        """
        plain = super().compute_metrics
        thresholds = self.iou_thrs, self.ioa_thrs
        found: dict[str, float] = {}
        try:
            for iou, ioa in zip(*thresholds, strict=True):  # alone: their mean is not rounded
                self.iou_thrs, self.ioa_thrs = [iou], [ioa]
                found[f'AP{int(iou * 100):02d}'] = float(plain(results)['mAP'])
        finally:
            self.iou_thrs, self.ioa_thrs = thresholds
        return {**found, 'mAP': sum(found.values()) / len(found)}
