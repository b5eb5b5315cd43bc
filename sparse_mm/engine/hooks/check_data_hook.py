"""Finds an incomplete data set before the first iteration rather than hours into an epoch."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from sparse_mm.engine.checks.report import report
from sparse_mm.engine.checks.samples import (
    check_categories,
    check_class_count,
    check_labels,
    check_samples,
)


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Checks a sample of each data set's images, and all cameras, before the run starts.

    Args:
        num_images: How many images to check for, evenly spread over the data set. Defaults to 1000.
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
        num_classes = num_classes_of(runner.model)
        problems = []
        for split, loader in loaders.items():
            problems += check_samples(loader.dataset, split, self.num_images)
            if not any('num_classes' in problem for problem in problems):
                problems += check_class_count(loader.dataset, split, num_classes, runner.model)
        if 'val' in loaders:
            problems += check_labels(loaders['train'].dataset, loaders['val'].dataset)
            problems += check_categories(loaders['val'].dataset, 'val', num_classes)
        report(problems)

    def before_test(self, runner: Runner) -> None:
        """Checks the test set.

        Raises:
            BadInputError: It is incomplete.
        """
        dataset = runner.test_dataloader.dataset
        num_classes = num_classes_of(runner.model)
        problems = check_samples(dataset, 'test', self.num_images)
        problems += check_class_count(dataset, 'test', num_classes, runner.model)
        report(problems + check_categories(dataset, 'test', num_classes))


def num_classes_of(model: nn.Module) -> int:
    """The largest number of classes of a model's heads; 0 if it is not known."""
    named = (getattr(part, 'num_classes', 0) for part in model.modules())
    return max((number for number in named if isinstance(number, int)), default=0)
