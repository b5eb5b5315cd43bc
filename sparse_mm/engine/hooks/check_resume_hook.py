"""Refuses to resume from the checkpoint of another run."""

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from sparse_mm.errors import BadInputError


@HOOKS.register_module()
class CheckResumeHook(Hook):
    """Checks that a checkpoint has this run's optimizer and schedule.

    MMEngine loads what fits and ignores the rest, so a different schedule would continue with wrong
    learning rates.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Checks the checkpoint, where it is one to resume from.

        Raises:
            BadInputError: It holds weights alone, or is of a run with another optimizer or
                schedule.
        """
        if not runner._resume:
            return
        meta, hub = (_mapping(checkpoint.get(part)) for part in ('meta', 'message_hub'))
        counts = [meta.get(name) for name in ('epoch', 'iter')]
        parts = [hub.get(name) for name in ('log_scalars', 'runtime_info', 'resumed_keys')]
        counted = all(type(count) is int and count >= 0 for count in counts)
        if not counted or not all(isinstance(part, Mapping) for part in parts):
            raise BadInputError(
                'The checkpoint to resume from holds weights without the state of a run (its '
                'meta.epoch, meta.iter and message_hub); start from the weights instead, with '
                '--cfg-options load_from=FILE and no --resume.'
            )
        if 'optimizer' in checkpoint:
            _check_optimizer(runner.optim_wrapper, checkpoint['optimizer'])
        if 'param_schedulers' in checkpoint and runner.param_schedulers is not None:
            _check_schedulers(runner.param_schedulers, checkpoint['param_schedulers'])


def _is(value: Any) -> bool:
    return isinstance(value, Mapping)


def _mapping(value: Any) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def _other(what: str) -> BadInputError:
    return BadInputError(
        f'The checkpoint to resume from is of another run: {what}; resume with the config that it '
        'was trained with, or start from its weights, with load_from and without --resume.'
    )


def _check_optimizer(wrapper: Any, saved: Any) -> None:
    if not _is(saved):
        raise _other('its optimizer has no state')
    optimizer = getattr(wrapper, 'optimizer', None)
    if optimizer is None:  # several, each under its name
        for name, inner in wrapper.items():
            if not _is(saved.get(name)):
                raise _other(f'it has no optimizer {name!r}')
            _check_optimizer(inner, saved[name])
        return
    groups = saved.get('param_groups')
    if not isinstance(groups, list) or not all(_is(group) for group in groups):
        raise _other('its optimizer has no parameter groups')
    own = [len(group['params']) for group in optimizer.param_groups]
    theirs = [len(group.get('params', ())) for group in groups]
    if own != theirs:
        raise _other(
            f'its optimizer has {sum(theirs)} parameters in {len(theirs)} groups, this one '
            f'{sum(own)} in {len(own)}'
        )
    lacking = [name for name in optimizer.defaults if groups and name not in groups[0]]
    unknown = [
        name
        for name in (groups[0] if groups else ())
        if name not in optimizer.param_groups[0] and name != 'initial_lr'
    ]
    if lacking and unknown:  # one alone can be another version of the same optimizer
        raise _other(f'its optimizer has no {lacking[0]}, which {type(optimizer).__name__} has')


def _check_schedulers(own: Any, saved: Any) -> None:
    if _is(own):
        for name, schedulers in own.items():
            _check_schedulers(schedulers, saved.get(name) if _is(saved) else None)
        return
    if not isinstance(saved, list) or len(saved) != len(own):
        count = len(saved) if isinstance(saved, list) else 'no'
        raise _other(f'it has {count} parameter schedulers, this config {len(own)}')
    for scheduler, state in zip(own, saved, strict=True):
        lacking = sorted(set(scheduler.state_dict()) - set(state)) if _is(state) else ['state']
        if lacking:
            raise _other(
                f'its parameter scheduler has no {lacking[0]}, which '
                f'{type(scheduler).__name__} needs'
            )
