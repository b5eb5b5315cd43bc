"""Ends a run whose losses have become NaN or infinite, before it saves such weights."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from sparse_mm.errors import BadInputError


@HOOKS.register_module()
class CheckLossHook(Hook):
    """Counts losses that are not finite, one after the other, and ends a run that does not recover.

    A single one is normal: mixed precision skips such a step. Many in a row mean that the weights
    are not finite, and all later checkpoints are useless.

    Args:
        patience: How many in a row end the run. Defaults to 10.
        interval: After how many iterations to read the count; reading waits for a GPU. Defaults
            to 10.
    """

    priority = 'VERY_HIGH'  # before the checkpoint hook saves

    def __init__(self, patience: int = 10, interval: int = 10) -> None:
        self.patience = patience
        self.interval = interval
        self.in_a_row: Tensor | None = None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Counts, and reads the count every ``interval`` iterations.

        Raises:
            BadInputError: The last losses were not finite.
        """
        loss = outputs.get('loss') if isinstance(outputs, dict) else None
        if not isinstance(loss, Tensor):
            return
        before = torch.zeros((), device=loss.device) if self.in_a_row is None else self.in_a_row
        failed = ~torch.isfinite(loss.detach()).all()
        self.in_a_row = torch.where(failed, before + 1, torch.zeros_like(before))
        if self.every_n_train_iters(runner, self.interval) and self.in_a_row >= self.patience:
            raise self._diverged(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses to save weights that are not finite.

        Raises:
            BadInputError: They are not finite.
        """
        if self.in_a_row is None or not self.in_a_row:
            return
        saved = checkpoint['state_dict'].values()
        weights = [v for v in saved if isinstance(v, Tensor) and v.is_floating_point()]
        if not all(torch.isfinite(value).all() for value in weights):
            raise self._diverged(runner)

    @staticmethod
    def _diverged(runner: Runner) -> BadInputError:
        return BadInputError(
            f'The training has diverged: its losses are NaN or infinite by iteration '
            f'{runner.iter + 1}; resume from an earlier checkpoint (--resume FILE) with a lower '
            'learning rate or gradient clipping, in another work directory.'
        )
