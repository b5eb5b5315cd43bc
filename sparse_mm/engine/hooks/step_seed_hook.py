"""Seeds every step, so that a resumed run draws the same random numbers."""

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.utils import set_random_seed


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seeds Python, numpy and torch anew in every epoch and iteration.

    The seeds follow from the run's seed, the number of the step and the rank, so no state needs
    saving. Ranks draw different numbers for dropout and the like; the order of the data is drawn by
    the samplers, whose seed all ranks share. The loaders' workers have random numbers of their own,
    which start again with each epoch where ``persistent_workers=False``; with it, resuming in a
    later epoch augments differently.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Seeds what is drawn before the epoch's first iteration: the loader's own numbers."""
        self._seed(runner, 2 * runner.iter)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Seeds what is drawn in the iteration."""
        self._seed(runner, 2 * runner.iter + 1)

    def _seed(self, runner: Runner, step: int) -> None:
        # The factors keep the steps of all ranks far apart. Rank 0 draws the same as a single
        # process.
        set_random_seed((runner.seed + 1_000_003 * step + 982_451_653 * get_rank()) % 2**32)
