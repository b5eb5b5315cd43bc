"""Adapts a model to any ratios: every iteration draws random ones."""

from collections.abc import Sequence
from random import Random

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from sparse_mm.engine.hooks.compiling import UncompiledPasses, how_compiled
from sparse_mm.engine.hooks.units import check_places, check_unit
from sparse_mm.engine.inspection import find_backbone
from sparse_mm.errors import BadInputError
from sparse_mm.search.space import CHOICES, RatioSpace


@HOOKS.register_module()
class SparsityAdaptationHook(Hook):
    """Sparsity-aware adaptation (SparseViT, Chen et al., CVPR 2023, section 3.3).

    In its part of the training, every iteration runs with ratios drawn from the search space: for
    each stage as many uniform draws as it has pairs of blocks, sorted. They follow from the seed
    and the iteration alone, so they are the same on all ranks and after a resume. Between
    iterations the model is dense, so checkpoints, averaged copies (EMA) and validation never use
    random ratios. If the model is compiled, its backbone is not in these iterations, since it would
    be compiled again for each setting.

    Args:
        begin: First epoch (from 0), or first iteration where ``by_epoch=False``. Defaults to 0.
        end: The epoch or iteration before which it ends. Defaults to None, the end of training.
        by_epoch: Whether ``begin`` and ``end`` count epochs. Defaults to True.
        choices: The ratios to draw from. Defaults to 0, 0.1, …, 0.8.
        stage_limits: For each stage the largest ratio, or (smallest, largest). Defaults to None.
        seed: Start of the random numbers. Defaults to 0.
    """

    priority = 'ABOVE_NORMAL'  # before hooks that average, save or validate the model

    def __init__(
        self,
        begin: int = 0,
        end: int | None = None,
        by_epoch: bool = True,
        choices: Sequence[float] = CHOICES,
        stage_limits: Sequence | None = None,
        seed: int = 0,
    ) -> None:
        check_places('SparsityAdaptationHook', by_epoch, begin=begin, end=end)
        if end is not None and end <= begin:
            raise BadInputError(
                f'SparsityAdaptationHook must end after it begins, not begin={begin}, end={end}.'
            )
        self.begin = begin
        self.end = end
        self.by_epoch = by_epoch
        self.choices = choices
        self.stage_limits = stage_limits
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Finds the backbone.

        Raises:
            BadInputError: There is none to prune, its config names ratios, or the space is empty.
        """
        self.backbone = find_backbone(runner.model)
        if self.backbone.keeps_own_ratios:
            raise BadInputError(
                "The backbone's pruning_ratios are set, and SparsityAdaptationHook would change "
                'them in every iteration; leave one of the two out.'
            )
        check_unit(runner, 'SparsityAdaptationHook', self.by_epoch, begin=self.begin, end=self.end)
        if self.end is not None:
            length = runner.max_epochs if self.by_epoch else runner.max_iters
            if self.end > length:
                raise BadInputError(
                    f'SparsityAdaptationHook ends at {self.end}, but the training ends at {length} '
                    '(by_epoch=False counts iterations).'
                )
        self.space = RatioSpace.build(self.backbone.depths, self.choices, self.stage_limits)
        self.uncompiled: UncompiledPasses | None = None
        compiled = how_compiled(runner)
        if compiled is not None:
            self.uncompiled = UncompiledPasses(self.backbone)
            runner.logger.info(
                f'{compiled}. While SparsityAdaptationHook changes the ratios in every iteration, '
                'the backbone is left uncompiled; before and after that it is compiled, too.'
            )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Draws the iteration's ratios."""
        if self._is_active(runner):
            rng = Random(f'{self.seed} adaptation {runner.iter}')
            self.backbone.override_ratios(self.space.draw(rng))
            if self.uncompiled is not None:
                self.uncompiled.begin()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Restores the saved setting, dense."""
        self.backbone.override_ratios(None)
        if self.uncompiled is not None:
            self.uncompiled.end()

    def _is_active(self, runner: Runner) -> bool:
        now = runner.epoch if self.by_epoch else runner.iter
        return now >= self.begin and (self.end is None or now < self.end)
