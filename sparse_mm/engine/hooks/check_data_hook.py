"""Finds an incomplete data set before the first iteration rather than hours into an epoch."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from sparse_mm.engine.checks.report import report
from sparse_mm.engine.checks.samples import check_labels, check_samples


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
        """Checks the training and the validation set.

        Raises:
            BadInputError: One is incomplete.
        """
        loaders = dict(train=runner.train_dataloader)
        if runner.val_loop is not None:
            loaders['val'] = runner.val_dataloader
        problems = [
            problem
            for split, loader in loaders.items()
            for problem in check_samples(loader.dataset, split, self.num_images)
        ]
        if 'val' in loaders:
            problems += check_labels(loaders['train'].dataset, loaders['val'].dataset)
        report(problems)

    def before_test(self, runner: Runner) -> None:
        """Checks the test set.

        Raises:
            BadInputError: It is incomplete.
        """
        report(check_samples(runner.test_dataloader.dataset, 'test', self.num_images))
