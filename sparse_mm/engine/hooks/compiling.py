"""Compiled models, which are compiled for one setting of the pruning ratios."""

import sys

from mmengine.runner import Runner

from sparse_mm.errors import BadInputError


def check_not_compiled(runner: Runner, hook: str) -> None:
    """Refuses a hook that changes the ratios of a model that is compiled.

    Dynamo compiles again for each setting. After eight settings it falls back to eager mode, with
    only a line in its log.

    Args:
        runner: Whose training is checked.
        hook: Name of the hook, for the message.

    Raises:
        BadInputError: MMEngine compiles the training step (``compile`` of the config), or a part of
            the model is compiled.
    """
    what = how_compiled(runner)
    if what is None:
        return
    raise BadInputError(
        f'{hook} changes the pruning ratios, and {what}, for one setting of them at a time: after '
        'eight settings PyTorch would silently go back to computing without it; leave the '
        'compiling out here, and compile when you finetune or deploy one setting.'
    )


def how_compiled(runner: Runner) -> str | None:
    """How a runner's model is compiled, as the middle of a sentence; None where it is not."""
    asked = getattr(runner, 'cfg', {}).get('compile', None)
    if asked is not None and asked is not False:
        return f'compile={asked!r} compiles the model'
    # If it is not imported, nothing is compiled. Importing it needs the user's name, which a
    # container may not have.
    dynamo = sys.modules.get('torch._dynamo.eval_frame')
    wrapped = dynamo.OptimizedModule if dynamo else ()
    by_hand = any(
        isinstance(module, wrapped) or module._compiled_call_impl is not None
        for module in runner.model.modules()
    )
    return 'the model is compiled' if by_hand else None
