"""mmdet's metric of semantic segmentation at full precision."""

import numpy as np
from mmdet.evaluation import SemSegMetric

from sparse_mm.errors import BadInputError


class FullPrecisionSemSegMetric(SemSegMetric):
    """mIoU and its relatives for comparing models; ``SemSegMetric`` rounds to two decimals."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes the means over classes.

        Args:
            results: Areas of intersection, union, prediction and label of each image.

        Returns:
            ``aAcc``, ``mIoU``, ``mAcc``, … in percent.

        Raises:
            BadInputError: The metric is set to write its files alone.
        """
        if self.format_only:
            raise BadInputError(
                'SemSegMetric has format_only=True: it writes predictions and computes no score; '
                'set val_evaluator.format_only=False.'
            )
        return {
            name if name == 'aAcc' else f'm{name}': float(np.nanmean(value) * 100)
            for name, value in self.get_return_metrics(results).items()
        }
