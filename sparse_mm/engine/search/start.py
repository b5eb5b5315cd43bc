"""The run's state at the start of a search, saved with the search.

A run that is resumed before its search may reach slightly different weights, because a GPU sums in
another order. Its saved scores would then be useless. So the run's state at the beginning of the
search is saved, and a resumed run uses it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from mmengine.config import Config
from mmengine.runner import Runner

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.file_backend import WHOLE_FILES
from sparse_mm.engine.processes import share_file
from sparse_mm.engine.search.identity import differing
from sparse_mm.engine.search.records import Records
from sparse_mm.errors import BadInputError
from sparse_mm.ranks import on_main_process

RUN = 'sparsity_search_run'
# Of the config, what a training's weights follow from, apart from its length.
TRAINING = (
    *('model', 'train_dataloader', 'optim_wrapper', 'param_scheduler', 'randomness'),
    *('custom_hooks', 'auto_scale_lr'),
)


def name_run(runner: Runner) -> None:
    """Gives a run a name that is saved in its checkpoints, unless it has one."""
    if RUN not in runner.message_hub.runtime_info:
        runner.message_hub.update_info(RUN, on_main_process(lambda: uuid4().hex))


class SearchStart:
    """The run's state as its search began.

    Args:
        runner: The run.
        folder: Of the search.
    """

    def __init__(self, runner: Runner, folder: Path) -> None:
        self.runner = runner
        self.path = folder / 'start.pth'

    def keep(self, identity: dict[str, Any]) -> None:
        """Writes the run's state: weights, optimizer, schedule, averages."""
        runner = self.runner
        meta = dict(
            epoch=runner.epoch,
            iter=runner.iter,
            sparsity_search=dict(
                weights=identity['weights'],
                run=runner.message_hub.get_info(RUN),
                training=_digest_of_training(runner.cfg),
            ),
        )
        on_main_process(lambda: self.path.parent.mkdir(parents=True, exist_ok=True))
        runner.save_checkpoint(
            str(self.path.parent),
            self.path.name,
            meta=meta,
            by_epoch=False,
            backend_args=WHOLE_FILES,
        )

    def take_up(self, records: Records) -> str | None:
        """Restores the state of the saved search if only the weights differ.

        Args:
            records: Of the search as it would begin now.

        Returns:
            A sentence for the log where it was taken up; None where the run stays as it is.
        """
        if not self.runner._resume or not on_main_process(lambda: self._belongs(records)):
            return None
        share_file(str(self.path))
        self.runner.resume(str(self.path))
        return (
            'Training up to the search came out with other weights than the first time; the run '
            f'goes on with those that its search began with ({self.path}).'
        )

    def _belongs(self, records: Records) -> bool:
        saved = records.saved_identity()
        if saved is None or differing(saved, records.identity) != ['weights']:
            return False
        try:
            meta = read_checkpoint(str(self.path)).get('meta')
        except BadInputError:
            return False
        if not isinstance(meta, dict):
            return False
        wanted = dict(
            weights=saved['weights'],
            run=self.runner.message_hub.get_info(RUN),
            training=_digest_of_training(self.runner.cfg),
        )
        now = self.runner.epoch, self.runner.iter
        return meta.get('sparsity_search') == wanted and (meta['epoch'], meta['iter']) == now


def _digest_of_training(cfg: Config) -> str:
    parts = {name: cfg.get(name) for name in TRAINING}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
