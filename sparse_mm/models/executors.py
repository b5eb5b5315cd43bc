"""Executors: faster ways to compute the models.

A model itself is the plain path: ordinary modules that implement the paper. An executor gives the
same outputs faster on one kind of processor (:mod:`sparse_mm.cpu`). It computes a whole pass, and
only if nothing can observe the difference; otherwise the plain path runs. Executors register here,
so the models do not import them.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

# The name of a component: ('stem',), ('stage', i) for what a stage does outside its blocks, or
# ('block', i, j).
Part = tuple[Any, ...]
Mark = Callable[[Part], None]


def ignore(part: Part) -> None:
    """A mark that is not read."""


class Executor(Protocol):
    """Another way to compute a model's pass."""

    def takes(self, model: nn.Module, images: Tensor) -> bool:
        """Whether it computes this pass, with the plain path's outputs and no other effect."""

    def run(self, model: nn.Module, images: Tensor, mark: Mark = ignore) -> tuple[Tensor, ...]:
        """Computes the pass.

        Args:
            model: A model that it takes.
            images: ``(B, C, H, W)``.
            mark: Called at the end of each part; the time since the call before belongs to it.
        """


_executors: list[Executor] = []


def register(executor: Executor) -> None:
    """Adds an executor; those added first are tried first."""
    _executors.append(executor)


def find(model: nn.Module, images: Tensor) -> Executor | None:
    """The executor that takes this pass, or None for the plain path."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    return next((executor for executor in _executors if executor.takes(model, images)), None)


def marked_pass(model: nn.Module, images: Tensor, mark: Mark) -> None:
    """Runs a pass of a SparseViT and marks the end of each part, in whatever way it is computed.

    Args:
        model: The backbone.
        images: ``(B, C, H, W)``.
        mark: See :meth:`Executor.run`. A part can be marked several times; its time is their sum.
    """
    executor = find(model, images)
    if executor is not None:
        executor.run(model, images, mark)
        return
    # Hooks on the plain path. The time before a block belongs to its stage, that before a stage to
    # the stem.
    handles = []

    def mark_before(module: nn.Module, part: Part) -> None:
        handles.append(module.register_forward_pre_hook(lambda *_: mark(part)))

    def mark_after(module: nn.Module, part: Part) -> None:
        handles.append(module.register_forward_hook(lambda *_: mark(part)))

    stages: Any = model.stages
    for i, stage in enumerate(stages):
        mark_before(stage, ('stem',))
        for j, block in enumerate(stage.blocks):
            mark_before(block, ('stage', i))
            mark_after(block, ('block', i, j))
        mark_after(stage, ('stage', i))
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    mark(('stem',))
