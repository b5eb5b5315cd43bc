"""Between adaptation and finetuning: searches the ratios and sets the winner."""

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from sparse_mm.engine.best_checkpoints import count_best_anew, file_to_use
from sparse_mm.engine.hooks.compiling import check_not_compiled_by_hand
from sparse_mm.engine.hooks.units import check_places, check_unit
from sparse_mm.engine.inspection import averaged_copies, find_backbone
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.sparsity_search import FOLDER, SparsitySearch
from sparse_mm.engine.search.start import SearchStart, name_run
from sparse_mm.engine.search.summary import summarise
from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.prunable import FORMER_KEY, KEY


@HOOKS.register_module()
class SparsitySearchHook(Hook):
    """Evolutionary search inside a training run (SparseViT, Chen et al., CVPR 2023, section 3.3).

    When training reaches ``at``, the best ratios within the budget are searched on the weights as
    they are then, and set; what is left of the training finetunes with them. The ratios are saved
    in the checkpoints. Each budget has a winner; that of the first budget is finetuned. Results lie
    in ``sparsity_search/`` of the work directory; a killed search continues from there. What is
    scored is the model that trains, not an average of its weights (EMA). The choice of the best
    checkpoint starts again after the search; the dense one is kept as ``dense_best_*.pth``.

    Args:
        at: Epoch (from 0), or iteration where ``by_epoch=False``, before which to search.
        by_epoch: Whether ``at`` counts epochs. Defaults to True.
        **settings: See :meth:`~sparse_mm.engine.search.settings.SearchSettings.build`: ``budget``
            and ``metric``, and any that differ from their defaults.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, at: int, by_epoch: bool = True, **settings: Any) -> None:
        check_places('SparsitySearchHook', by_epoch, at=at)
        self.at = at
        self.by_epoch = by_epoch
        self.settings = SearchSettings.read(settings)
        self.search: SparsitySearch | None = None

    def before_train(self, runner: Runner) -> None:
        """Checks the search before the training, unless it is done.

        Raises:
            BadInputError: It could not be made.
        """
        if find_backbone(runner.model).keeps_own_ratios:
            raise BadInputError(
                "The backbone's pruning_ratios are set, and SparsitySearchHook would replace them; "
                'leave one of the two out.'
            )
        check_not_compiled_by_hand(runner, 'SparsitySearchHook')
        check_unit(runner, 'SparsitySearchHook', self.by_epoch, at=self.at)
        length = runner.max_epochs if self.by_epoch else runner.max_iters
        if self.at >= length:
            raise BadInputError(
                f'SparsitySearchHook searches at {self.at}, but the training ends at {length} '
                '(by_epoch=False counts iterations).'
            )
        name_run(runner)
        self.searched_at: int | None = None
        if self._now(runner) <= self.at:
            self.search = SparsitySearch(runner, self.settings, Path(runner.work_dir) / FOLDER)
            self.search.prepare()

    def before_train_epoch(self, runner: Runner) -> None:
        """Searches where epochs count."""
        if self.by_epoch:
            self._search(runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Searches where iterations count."""
        if not self.by_epoch:
            self._search(runner)

    def _search(self, runner: Runner) -> None:
        if self._now(runner) != self.at or self.search is None:
            return
        start = SearchStart(runner, self.search.folder)
        records = self.search.identify()
        said = start.take_up(records)
        if said is not None:
            runner.logger.info(said)
            records = self.search.identify()
        winners = self.search.run(records, begun=lambda: start.keep(records.identity))
        for line in summarise(self.search, winners):
            runner.logger.info(line)
        for line in count_best_anew(runner, 'dense'):
            runner.logger.info(line)
        # Averaged copies, too: those with update_buffers=True take over no buffer of integers.
        for model in (runner.model, *averaged_copies(runner)):
            find_backbone(model).set_pruning_ratios(winners[0].ratios)
        runner.logger.info(f'The winner for {self.settings.budgets[0]} is finetuned from here on.')
        self.search = None
        self.searched_at = runner.iter

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Writes the winner's ratios by their former name, too, for one release.

        Release 0.1 reads sparse checkpoints by it, and had no key for dense models.
        """
        weights = checkpoint['state_dict']
        for name in [name for name in weights if name.endswith(f'.{KEY}')]:
            if weights[name][:, 0].any():
                weights[name.removesuffix(KEY) + FORMER_KEY] = weights[name]

    def after_train(self, runner: Runner) -> None:
        """Logs which file to use, or that the run ended too early."""
        unit = 'epoch' if self.by_epoch else 'iteration'
        if self.search is not None:
            runner.logger.warning(
                f'The run ended at {unit} {self._now(runner)}, before its search at {unit} '
                f'{self.at}: the model is dense, and no ratios were searched.'
            )
        elif self.searched_at == runner.iter:
            runner.logger.warning(
                f'The run ended with its search, at {unit} {self._now(runner)}: the ratios are in '
                'sparsity_search/best.json, and the model was not finetuned with them.'
            )
        else:
            runner.logger.info(
                f'The model within the budget is {file_to_use(runner)}; its ratios are part of it.'
            )

    def _now(self, runner: Runner) -> int:
        return runner.epoch if self.by_epoch else runner.iter
