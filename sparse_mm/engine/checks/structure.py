"""Checks the kinds of a config's settings, and that its types exist."""

import logging
import sys
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

import torch
from mmengine import registry as registries
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope, Registry

from sparse_mm.engine.explanations import say_unknown
from sparse_mm.engine.inspection import backbone_places, leaf_datasets, metric_configs

# What belongs together, as MMEngine's runner has it.
LOOPS = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
# Settings that hold others.
GROUPS = 'model', 'optim_wrapper', 'default_hooks', 'env_cfg', 'randomness', 'train_cfg'
LARGEST_SEED = 2**32 - 1  # of numpy


def check_structure(cfg: Config) -> list[str]:
    """Checks that settings are of the right kind: groups of settings, lists of hooks, numbers.

    Args:
        cfg: The run's config, just read.
    """
    problems = [
        f'{name} of the config holds other settings, and is {cfg.get(name)!r}; see to where it is '
        'set.'
        for name in (*GROUPS, *(f'{split}_dataloader' for split in LOOPS))
        if not isinstance(cfg.get(name), Mapping | None)
    ]
    if problems:
        return problems
    model = cfg.get('model')
    if model is not None and 'type' not in model:
        problems.append(f'model of the config has no type, only {", ".join(model) or "nothing"}.')
    problems += _check_hooks(cfg)
    for split in LOOPS:
        problems += _check_loader(cfg.get(f'{split}_dataloader'), split)
    for name, least in (('max_epochs', 1), ('max_iters', 1), ('val_interval', 1)):
        given = (cfg.get('train_cfg') or {}).get(name)
        if name != 'val_interval' and isinstance(given, float) and given.is_integer():
            given = int(given)  # 8e4, which MMEngine takes
        problems += _check_number(f'train_cfg.{name}', given, least)
    seed = (cfg.get('randomness') or {}).get('seed')
    problems += _check_number('randomness.seed', seed, 0, LARGEST_SEED)
    if not isinstance(cfg.get('load_from'), str | None):
        problems.append(f'load_from of the config is a path, not {cfg.load_from!r}.')
    problems += _check_deviations(dict(cfg.items()))
    problems += _check_clipping((cfg.get('optim_wrapper') or {}).get('clip_grad'))
    problems += _check_compile(cfg.get('compile'))
    level = cfg.get('log_level')
    if isinstance(level, str) and not isinstance(logging.getLevelName(level), int):
        problems.append(f"log_level is 'DEBUG', 'INFO', 'WARNING' or 'ERROR', not {level!r}.")
    return problems


def _check_hooks(cfg: Config) -> list[str]:
    custom, default = cfg.get('custom_hooks'), cfg.get('default_hooks') or {}
    if not isinstance(custom, list | tuple | None):
        return [
            'custom_hooks of the config is a list of hooks, custom_hooks = [dict(type=…), …], not '
            f'{custom!r}.'
        ]
    named = [(f'custom_hooks.{i}', hook) for i, hook in enumerate(custom or ())]
    named += [(f'default_hooks.{name}', hook) for name, hook in default.items() if hook is not None]
    return [
        f'{name} of the config is a hook, dict(type=…), not {hook!r}.'
        for name, hook in named
        if not isinstance(hook, Hook) and not (isinstance(hook, Mapping) and 'type' in hook)
    ]


def _check_loader(loader: Any, split: str) -> list[str]:
    if loader is None:
        return []
    name = f'{split}_dataloader'
    dataset = loader.get('dataset')
    problems = _check_number(f'{name}.num_workers', loader.get('num_workers'), 0)
    if isinstance(dataset, Mapping) and 'type' not in dataset:
        problems.append(f'{name}.dataset has no type, only {", ".join(dataset) or "nothing"}.')
    elif dataset is None or isinstance(dataset, str | Real):
        problems.append(f'{name}.dataset is a data set, dict(type=…), not {dataset!r}.')
    return problems


def _check_number(name: str, given: Any, least: int, most: int | None = None) -> list[str]:
    if given is None or (isinstance(given, int) and least <= given <= (most or given)):
        return []
    limits = f'of at least {least}' if most is None else f'from {least} to {most}'
    return [f'{name} must be a whole number {limits}, not {given!r}.']


def _check_deviations(node: Any, place: str = '') -> list[str]:
    """Checks that no image is divided by 0, wherever in the config it is normalised."""
    if isinstance(node, list | tuple):
        node = dict(enumerate(node))
    if not isinstance(node, Mapping):
        return []
    problems = []
    deviations = node.get('std') if 'mean' in node else None
    if isinstance(deviations, list | tuple) and any(
        isinstance(value, Real) and value <= 0 for value in deviations
    ):
        problems.append(
            f'{place}std of the config divides the images and must be above 0, not '
            f'{list(deviations)!r}.'
        )
    for name, inner in node.items():
        problems += _check_deviations(inner, f'{place}{name}.')
    return problems


def _check_clipping(clipping: Any) -> list[str]:
    if not isinstance(clipping, Mapping | None):
        return [f'optim_wrapper.clip_grad is dict(max_norm=…), not {clipping!r}.']
    given = {name: (clipping or {}).get(name) for name in ('max_norm', 'clip_value')}
    return [
        f'optim_wrapper.clip_grad.{name} is a number, not {value!r}.'
        for name, value in given.items()
        if not isinstance(value, Real | None)
    ]


def _check_compile(settings: Any) -> list[str]:
    """Asks PyTorch's compiler what MMEngine will, before the data are read."""
    if isinstance(settings, bool | None):
        return []
    if not isinstance(settings, Mapping):
        return [f'compile of the config is True, False or dict(backend=…), not {settings!r}.']
    try:
        torch.compile(lambda: None, **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        return [f'compile={dict(settings)!r} of the config is none for torch.compile: {error}']
    return []


def check_loops(cfg: Config) -> list[str]:
    """Checks that settings which belong together are complete.

    Args:
        cfg: The run's config.
    """
    problems = []
    for names in LOOPS.values():
        absent = [name for name in names if cfg.get(name) is None]
        if absent and len(absent) < len(names):
            there = [name for name in names if name not in absent]
            problems.append(
                f'The config has {" and ".join(there)} and no {" and no ".join(absent)}, which '
                'belong together; set all of them, or none.'
            )
    return problems


def check_types(cfg: Config, splits: tuple[str, ...]) -> list[str]:
    """Checks that the types of a config exist, before anything is built or read.

    Args:
        cfg: The run's config.
        splits: Of ``'train'``, ``'val'``, ``'test'``, those that the run will read.
    """
    scope = cfg.get('default_scope') or 'mmengine'  # as MMEngine's runner has it
    with DefaultScope.overwrite_default_scope(scope):
        unknown = [
            say_unknown(kind, scope, registry.name)
            for registry, kind in _types(cfg, splits)
            if isinstance(kind, str) and not _is_known(registry, kind)
        ]
    return list(dict.fromkeys(unknown))


def _types(cfg: Config, splits: tuple[str, ...]) -> Iterator[tuple[Registry, Any]]:
    """The types of what is built from a config, each with where it is looked up."""
    model = cfg.get('model') or {}
    parts = [part for part in model.values() if isinstance(part, Mapping)]
    for part in (model, *parts, *(parent[name] for parent, name in backbone_places(cfg))):
        yield registries.MODELS, part.get('type')
    hooks = [*(cfg.get('custom_hooks') or ()), *(cfg.get('default_hooks') or {}).values()]
    for hook in hooks:
        if isinstance(hook, Mapping):
            yield registries.HOOKS, hook['type']
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in leaf_datasets(loader['dataset']) if loader else ():
            yield registries.DATASETS, dataset.get('type')
            for transform in dataset.get('pipeline') or ():
                if isinstance(transform, Mapping):
                    yield registries.TRANSFORMS, transform.get('type')
        evaluator = cfg.get(f'{split}_evaluator') if split != 'train' else None
        for metric in metric_configs(evaluator) if evaluator is not None else ():
            yield registries.METRICS, metric.get('type')


def _is_known(registry: Registry, kind: str) -> bool:
    """Whether a registry has a type, or one of another kind: a part may be built elsewhere."""
    with registry.switch_scope_and_registry(None) as own:
        if own.get(kind) is not None:
            return True
    name = kind.rpartition('.')[2]
    return any(name in other.module_dict for other in _others(registry))


def _others(registry: Registry) -> Iterator[Registry]:
    """Yields MMEngine's other registries, the hosts' below them, and those of the hosts alone."""
    hosts = [module for name, module in sys.modules.items() if name.endswith('.registry')]
    for module in (registries, *hosts):
        for other in vars(module).values():
            if isinstance(other, Registry) and other.parent is None and other is not registry:
                yield from (other, *other.children.values())
