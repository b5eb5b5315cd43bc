"""Faster runs on a CPU, as a hook in the config."""

import platform
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from sparse_mm.cpu.linear import OneDNNLinearInTraining
from sparse_mm.engine.host_memory import keep_freed_memory


@HOOKS.register_module()
class CPUSpeedHook(Hook):
    """Makes training, testing and searching faster on a CPU; does nothing where there is a GPU.

    ``tools/*.py`` add it to the config's hooks where torch sees no GPU; ``--cfg-options`` or a
    config that lists it change what it does. It changes no layer and no result beyond the order of
    summation.

    Args:
        keep_memory: Whether the process keeps the memory that it frees
            (:func:`~sparse_mm.engine.host_memory.keep_freed_memory`). Defaults to True.
        onednn_linear: Whether linear layers of training steps run on oneDNN instead of MKL
            (:func:`~sparse_mm.cpu.linear.linear_with_gradients`). Defaults to None: on processors
            that are not Intel's, since MKL is slow there.
    """

    priority = 'VERY_HIGH'

    def __init__(self, keep_memory: bool = True, onednn_linear: bool | None = None) -> None:
        self.keep_memory = keep_memory
        self.onednn_linear = not is_intel() if onednn_linear is None else onednn_linear
        self._handles: list[Any] = []

    def before_run(self, runner: Runner) -> None:
        """Keeps the memory that is freed from here on."""
        if self.keep_memory and not torch.cuda.is_available():
            keep_freed_memory()

    def before_train(self, runner: Runner) -> None:
        """Replaces the product in the model's training passes."""
        device = next(runner.model.parameters()).device.type
        if not self.onednn_linear or device != 'cpu' or runner.cfg.get('compile'):
            return
        entered: list[OneDNNLinearInTraining] = []

        def enter(*_: Any) -> None:
            if torch.is_grad_enabled():
                entered.append(OneDNNLinearInTraining())
                entered[-1].__enter__()

        def leave(*_: Any) -> None:
            if entered:
                entered.pop().__exit__(None, None, None)

        # The forward pass is enough: the backward pass follows from what it computed with.
        model = runner.model
        self._handles = [
            model.register_forward_pre_hook(enter),
            model.register_forward_hook(leave, always_call=True),
        ]

    def after_train(self, runner: Runner) -> None:
        """Restores the model."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def is_intel() -> bool:
    """Whether the processor is one of Intel's."""
    try:
        text = Path('/proc/cpuinfo').read_text()
    except OSError:
        text = platform.processor()
    return 'GenuineIntel' in text
