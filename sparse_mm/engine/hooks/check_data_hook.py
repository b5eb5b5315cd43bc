"""Finds an incomplete data set before the first iteration rather than hours into an epoch."""

import os
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from sparse_mm.engine.checks.cameras import check_cameras
from sparse_mm.errors import BadInputError


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Looks for a sample of each data set's images, and at all cameras, before the run starts.

    Args:
        num_images: How many images to look for, evenly spread over the data set. Defaults to 1000.
    """

    priority = 'VERY_HIGH'

    def __init__(self, num_images: int = 1000) -> None:
        self.num_images = num_images

    def before_train(self, runner: Runner) -> None:
        """Checks the training and the validation set."""
        self._check(runner.train_dataloader, 'train')
        if runner.val_loop is not None:
            self._check(runner.val_dataloader, 'val')

    def before_test(self, runner: Runner) -> None:
        """Checks the test set."""
        self._check(runner.test_dataloader, 'test')

    def _check(self, loader: DataLoader, split: str) -> None:
        dataset: Any = loader.dataset
        if len(dataset) == 0:
            raise BadInputError(
                f'The {split} set has no image with annotations of its classes; check that its '
                'annotation file and its metainfo.classes belong together.'
            )
        if not hasattr(dataset, 'get_data_info'):
            return
        check_cameras(getattr(dataset, 'dataset', dataset), split)  # once, if a wrapper repeats it
        step = max(1, len(dataset) // self.num_images)
        paths = [p for i in range(0, len(dataset), step) for p in _paths(dataset.get_data_info(i))]
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            raise BadInputError(
                f'The {split} set is incomplete: {len(missing)} of {len(paths)} files looked for '
                f'are missing, the first is {missing[0]!r}; copy or unpack the data set again.'
            )


def _paths(info: dict) -> Iterator[str]:
    """Yields the local files that one sample reads; mmdet3d keeps those of its cameras apart."""
    cameras = info.get('images')
    for part in [info, *(cameras.values() if isinstance(cameras, dict) else ())]:
        for key in ('img_path', 'seg_map_path'):
            path = part.get(key)
            if isinstance(path, str) and '://' not in path:
                yield path
