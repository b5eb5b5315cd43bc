"""Passes the loss scale of mixed precision to SparseFormers."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from sparse_mm.engine.inspection import device_of
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseFormer


@HOOKS.register_module()
class LossScaleHook(Hook):
    """Sets the loss scale of every SparseFormer of the model before each iteration.

    SparseFormer clamps the gradient of its sampling points (Gao et al., ICLR 2024, section 3.2).
    Where the loss is scaled, as ``AmpOptimWrapper`` does, the bound must be scaled as well. Without
    mixed precision the hook changes nothing.
    """

    priority = 'VERY_LOW'  # after hooks that change the scale

    def before_train(self, runner: Runner) -> None:
        """Finds the gradient scaler.

        Raises:
            BadInputError: It is not clear which of several loss scales is a SparseFormer's.
        """
        _find_scalers(runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Sets the scale of this iteration, as a tensor, without synchronising."""
        for backbone, scaler in _find_scalers(runner):
            if scaler is not None:
                backbone.loss_scale = scaler.scale(torch.ones((), device=device_of(backbone)))

    def after_train(self, runner: Runner) -> None:
        """Removes the scale after the iteration."""
        for backbone, _ in _find_scalers(runner):
            backbone.loss_scale = None


def _find_scalers(runner: Runner) -> list[tuple[SparseFormer, Any]]:
    """Each SparseFormer with the ``GradScaler`` of its gradients, or None."""
    modules = runner.model.modules()
    backbones = [module for module in modules if isinstance(module, SparseFormer)]
    return [(backbone, _scaler_of(backbone, runner.optim_wrapper)) for backbone in backbones]


def _scaler_of(backbone: SparseFormer, optim_wrapper: Any) -> Any:
    if not isinstance(optim_wrapper, OptimWrapperDict):
        return getattr(optim_wrapper, 'loss_scaler', None)
    own = {id(parameter) for parameter in backbone.parameters()}
    # Of several optimizers, the one that trains the backbone has scaled the loss that reaches it.
    scalers = {
        id(wrapper.loss_scaler): wrapper.loss_scaler
        for wrapper in optim_wrapper.values()
        if hasattr(wrapper, 'loss_scaler')
        and any(id(p) in own for group in wrapper.param_groups for p in group['params'])
    }
    if len(scalers) > 1:
        raise BadInputError(
            'The parameters of a SparseFormer are trained by several optim wrappers, each with a '
            'loss scale of its own, and LossScaleHook cannot decide which one scales its '
            'gradients; leave the hook out and set loss_scale of the backbone in the train_step.'
        )
    return next(iter(scalers.values()), None)
