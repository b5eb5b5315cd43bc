"""mmseg's IoU metric at full precision."""

import numpy as np
from mmseg.evaluation import IoUMetric


class FullPrecisionIoUMetric(IoUMetric):
    """mIoU and its relatives for comparing models; ``IoUMetric`` rounds to two decimals."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes the means over classes.

        Args:
            results: Areas of intersection, union, prediction and label of each image.

        Returns:
            ``aAcc``, ``mIoU``, ``mAcc``, … in percent.
        """
        areas = [sum(parts) for parts in zip(*results, strict=True)]
        values = self.total_area_to_metrics(*areas, self.metrics, self.nan_to_num, self.beta)
        return {
            name if name == 'aAcc' else f'm{name}': float(np.nanmean(value) * 100)
            for name, value in values.items()
        }
