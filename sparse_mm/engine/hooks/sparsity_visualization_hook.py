"""In validation and tests: pictures of how many layers computed each window."""

from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from sparse_mm.deploy import DeployedBackbone
from sparse_mm.engine.computed_windows import WindowRecorder, paint_layers
from sparse_mm.engine.hooks.compiling import is_compiled_by_hand
from sparse_mm.engine.inspection import find_backbone
from sparse_mm.engine.pictures import shown_picture
from sparse_mm.errors import BadInputError


@HOOKS.register_module()
class SparsityVisualizationHook(Hook):
    """Shows which windows a SparseViT computes (Chen et al., CVPR 2023, figure 5).

    The left half of each picture is the model's input, with padding. The right half is the same,
    coloured by the number of layers that computed it: dark violet for none, yellow for all. It goes
    to the runner's visualizer, and so to all its backends: local files, TensorBoard and others. Its
    name has the number of the batch and of the image in it. Cameras, and crops of a sliding test,
    are images of their own.

    Args:
        interval: Every how many batches to draw one. Defaults to 50.

    Raises:
        BadInputError: ``interval`` is below 1; or, at the start of a run, the model has no
            SparseViT, or its layers cannot be watched.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 50) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise BadInputError(
                'SparsityVisualizationHook draws every so many batches: interval must be a whole '
                f'number of at least 1, not {interval!r}.'
            )
        self.interval = interval
        self.recorder: WindowRecorder | None = None

    def before_run(self, runner: Runner) -> None:
        """Checks that there is a SparseViT whose layers can be seen.

        Raises:
            BadInputError: There is none, or it is compiled or computed by another engine.
        """
        find_backbone(runner.model)
        what = 'it is compiled' if is_compiled_by_hand(runner) else None
        if any(isinstance(module, DeployedBackbone) for module in runner.model.modules()):
            what = 'another engine or precision computes the backbone'
        if what is not None:
            raise BadInputError(
                f"SparsityVisualizationHook watches the backbone's layers in PyTorch, and {what}; "
                'leave one of the two out.'
            )

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Begins to record where the batch is drawn."""
        self._begin(runner, batch_idx)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draws what was recorded."""
        self._draw(runner, batch_idx, 'val')

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Begins to record where the batch is drawn."""
        self._begin(runner, batch_idx)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draws what was recorded."""
        self._draw(runner, batch_idx, 'test')

    def _begin(self, runner: Runner, batch_idx: int) -> None:
        # Other processes' pictures would reach no backend.
        if batch_idx % self.interval == 0 and is_main_process():
            self.recorder = WindowRecorder(runner.model)

    def _draw(self, runner: Runner, batch_idx: int, mode: str) -> None:
        if self.recorder is None:
            return
        recorder, self.recorder = self.recorder, None
        recorder.remove()
        number = 0
        for one in recorder.passes:
            for inputs, counts in zip(one.images, one.layer_counts(), strict=True):
                image = shown_picture(inputs, runner.cfg)
                painted = paint_layers(image, counts, recorder.layers)
                runner.visualizer.add_image(
                    f'sparsity_{mode}_{batch_idx}_{number}',
                    np.concatenate([image, painted], axis=1),
                    runner.iter,
                )
                number += 1
