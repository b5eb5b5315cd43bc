"""Modules of a toy run that fail on purpose, selected by an environment variable."""

import os
import signal
from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, METRICS

from tests.engine.search.toy import ToyLogLikelihood, ToyPictures


def asked(name: str) -> bool:
    """Whether this failure is selected, on this rank."""
    wanted, _, rank = os.environ.get('FAULT', '').rpartition(' ')
    if not rank.isdigit():
        return os.environ.get('FAULT') == name
    return wanted == name and int(rank) == get_rank()


@METRICS.register_module()
class BrokenMetric(ToyLogLikelihood):
    """Fails at its third evaluation."""

    default_prefix = 'toy'

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.count = 0

    def compute_metrics(self, results):
        self.count += 1
        if self.count == 3:
            if asked('evaluator'):
                raise ValueError('the evaluator is broken')
            if asked('memory'):
                raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20 GiB')
            if asked('killed once') and not os.path.exists('killed'):
                Path('killed').touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if asked('nan'):
            return dict(likelihood=float('nan'))
        return super().compute_metrics(results)


@DATASETS.register_module()
class BrokenPictures(ToyPictures):
    """Has a picture that cannot be decoded."""

    def get_data_info(self, idx):
        return dict(super().get_data_info(idx), img_path=f'pictures/{idx}.jpg')

    def prepare_data(self, idx):
        if asked('image') and idx == 3:
            raise OSError('Truncated JPEG')
        return super().prepare_data(idx)


@HOOKS.register_module()
class BrokenRun(Hook):
    """Makes a run fail or hang in its adaptation."""

    priority = 'HIGH'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.epoch == 2 and asked('loss'):
            for parameter in runner.model.parameters():
                parameter.data.fill_(float('nan'))
        if runner.epoch == 1 and asked('full'):
            Path('disk', 'ballast').write_bytes(b'x' * int(os.environ['BALLAST']))

    def after_train_epoch(self, runner):
        if runner.epoch == 2 and asked('stop'):
            runner.train_loop.stop_training = True
