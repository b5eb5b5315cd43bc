"""Top-1 and top-5 accuracy of videos, with the numbers of views and of broken videos."""

from collections.abc import Sequence
from typing import Any

from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from mmpretrain.evaluation import Accuracy

from sparse_mm.errors import BadInputError
from sparse_mm.named_weights import first_few


@METRICS.register_module()
class ClipAccuracy(Accuracy):
    """mmpretrain's ``Accuracy``, which also says how many views and broken videos there were.

    ``accuracy/views`` is the number of views of a video, ``accuracy/broken`` that of videos which
    could not be decoded and are in no score.

    Args:
        **kwargs: As for ``Accuracy``.
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps the scores of a batch; of broken videos, that they are."""
        for sample in data_samples:
            super().process(data_batch, [sample])
            self.results[-1]['views'] = sample.get('num_views', 1)
            self.results[-1]['broken'] = sample.get('broken', '')

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores the whole set.

        Raises:
            BadInputError: All of its videos are broken.
        """
        whole = [result for result in results if not result['broken']]
        broken = [result['broken'] for result in results if result['broken']]
        if not whole:
            raise BadInputError(f'All {len(results)} videos are broken: {first_few(broken)}.')
        metrics = super().compute_metrics(whole)
        views = max(result['views'] for result in whole)
        logger = MMLogger.get_current_instance()
        if views == 1:
            logger.info('These scores are of one view of each video.')
        else:
            logger.info(f'These scores are means of {views} views of each video.')
        if broken:
            logger.warning(f'{len(broken)} videos are broken and not scored: {first_few(broken)}.')
        return {**metrics, 'views': views, 'broken': len(broken)}
