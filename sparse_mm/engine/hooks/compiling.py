"""Compiled models, which are compiled for one setting of the pruning ratios."""

import sys
from collections.abc import Callable

import torch
from mmengine.runner import Runner
from torch import nn

from sparse_mm.errors import BadInputError


class UncompiledPasses:
    """Makes the compiler skip a module in some passes of a compiled model.

    Dynamo compiles a backbone again for each setting of the ratios. After eight settings it falls
    back to eager mode for good, with only a line in its log. While every pass has other ratios, the
    backbone is therefore computed without the compiler; what follows it stays compiled.

    The module gets another ``forward`` for these passes. Dynamo checks which one a module has, so
    it keeps both variants of what calls it.

    Args:
        module: The backbone.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._own = vars(module).get('forward')  # None: that of the class
        # The same function in all passes, since callers are compiled again for a new one.
        self._uncompiled: Callable = torch.compiler.disable(module.forward)

    def begin(self) -> None:
        """The next passes compute the module without the compiler."""
        self.module.forward = self._uncompiled

    def end(self) -> None:
        """The next passes may be compiled again."""
        vars(self.module).pop('forward', None)
        if self._own is not None:
            self.module.forward = self._own


def check_not_compiled_by_hand(runner: Runner, hook: str) -> None:
    """Refuses a hook that compares ratios where evaluation is compiled, too.

    MMEngine's ``compile`` is allowed, since it only compiles the training step.

    Args:
        runner: Whose training is checked.
        hook: Name of the hook, for the message.

    Raises:
        BadInputError: A part of the model is compiled.
    """
    if is_compiled_by_hand(runner):
        raise BadInputError(
            f'{hook} compares settings of the pruning ratios, and a part of the model is compiled '
            'with torch.compile, for one setting at a time: after eight settings PyTorch would go '
            'back to eager mode. Set compile=True in the config instead: MMEngine then compiles '
            'the training step alone.'
        )


def how_compiled(runner: Runner) -> str | None:
    """How the training step is compiled, as the middle of a sentence; None where it is not."""
    asked = getattr(runner, 'cfg', {}).get('compile', None)
    if asked is not None and asked is not False:
        return f'compile={asked!r} compiles the training step'
    return 'a part of the model is compiled' if is_compiled_by_hand(runner) else None


def is_compiled_by_hand(runner: Runner) -> bool:
    """Whether a part of the model is compiled in all passes, not only in the training step."""
    # If it is not imported, nothing is compiled. Importing it needs the user's name, which a
    # container may not have.
    dynamo = sys.modules.get('torch._dynamo.eval_frame')
    wrapped = dynamo.OptimizedModule if dynamo else ()
    return any(
        isinstance(module, wrapped) or module._compiled_call_impl is not None
        for module in runner.model.modules()
    )
