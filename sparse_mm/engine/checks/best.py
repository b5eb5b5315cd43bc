"""Checks that the evaluator computes the values that the config monitors."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from sparse_mm.engine.hosts import name_of
from sparse_mm.engine.hosts.metric_names import is_given, names_of_values
from sparse_mm.errors import nearest
from sparse_mm.named_weights import first_few


def check_best(cfg: Config) -> list[str]:
    """Checks the names in ``save_best``, in early stopping, and in schedulers that watch a value.

    MMEngine would check them after the first evaluation only. Unknown metrics are not checked.

    Args:
        cfg: The run's config.
    """
    if cfg.get('val_cfg') is None or not cfg.get('val_evaluator'):
        return []
    given = names_of_values(cfg.val_evaluator)
    if not given:
        return []
    shown = first_few([name for name in given if '*' not in name] or given, 8)
    return [
        f'{place}={name!r}, and the val_evaluator gives no such value'
        f'{nearest(name, given) or "."} It gives {shown}.'
        for place, name in _named(cfg)
        if not is_given(name, given)
    ]


def _named(cfg: Config) -> Iterator[tuple[str, str]]:
    """Yields the names of values that a config looks up, each with its place."""
    hooks = cfg.get('default_hooks') or {}
    best = (hooks.get('checkpoint') or {}).get('save_best')
    for name in best if isinstance(best, list | tuple) else [best]:
        if isinstance(name, str) and name != 'auto':
            yield 'The checkpoint hook has save_best', name
    schedulers: Any = cfg.get('param_scheduler') or ()
    schedulers = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    for part in [*hooks.values(), *(cfg.get('custom_hooks') or ()), *schedulers]:
        kind = name_of(part.get('type', '')) if isinstance(part, Mapping) else ''
        if kind == 'EarlyStoppingHook' or 'ReduceOnPlateau' in kind:
            name = part.get('monitor')
            if isinstance(name, str) and 'loss' not in name:
                yield f'{kind} has monitor', name
