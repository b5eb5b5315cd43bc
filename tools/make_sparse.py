"""Writes the sparse config of any Swin config: ``python tools/make_sparse.py mmdet::swin/….py``.

The file inherits the host's config. It replaces Swin by SparseViT and adds the hooks that adapt the
model, search its ratios and finetune the winner. The config's own hooks are kept.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
from mmengine.config import Config
from mmengine.hub import get_config

from sparse_mm.engine.checks import needs_cuda
from sparse_mm.engine.command_line import run
from sparse_mm.engine.config_file import read_config
from sparse_mm.engine.hosts import (
    DEFAULT_ARCH,
    MMPRETRAIN_ONLY,
    SPARSE_TWINS,
    is_kind,
    metric_of,
    name_of,
    needs_whole_set_by_name,
)
from sparse_mm.engine.inspection import metric_configs
from sparse_mm.engine.starting_weights import is_whole_model, start_backbone
from sparse_mm.errors import BadInputError
from sparse_mm.search.budget import Budget

# Of the training, as in the paper: 12 of 48 epochs.
ADAPTATION_SHARE = 0.25
# From a trained dense model on, by the SparseViT paper's settings.
LEARNING_RATE = 1e-5
MONO = 'MonoNuScenesMetric'  # joins the cameras of a frame on any device


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='PACKAGE::PATH of a host, or a file')
    parser.add_argument(
        '--checkpoint',
        help='the trained dense model, to start from; or a Swin alone, for the backbone',
    )
    parser.add_argument('--out', help='the file to write (default: sparse_NAME.py here)')
    parser.add_argument(
        '--budget', default='latency=0.7', help='budget of the search (%(default)s)'
    )
    return parser.parse_args()


def read_base(name: str) -> Config:
    """Reads the host's config, by its name in an installed package or as a file.

    Raises:
        BadInputError: There is none, or it cannot be read.
    """
    if '::' not in name:
        return read_config(name)
    try:
        return get_config(name)
    except (ImportError, FileNotFoundError, ValueError, AssertionError, KeyError) as error:
        raise BadInputError(
            f'There is no config {name!r} ({error}); name it as PACKAGE::PATH below the '
            "package's configs/, such as mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py."
        ) from error


def find_swin(model: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yields the places of Swin backbones in a model's config."""
    for key, value in model.items():
        if isinstance(value, dict):
            if is_kind(value.get('type', ''), *SPARSE_TWINS):
                yield (*path, key)
            yield from find_swin(value, (*path, key))


def at(model: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The part of a config at a place."""
    for key in path:
        model = model[key]
    return model


def sparse_backbone(swin: dict[str, Any], scope: str) -> dict[str, Any]:
    """What the inheriting config says of the backbone, but for what it starts from.

    Args:
        swin: The host's settings.
        scope: The host.
    """
    kind = name_of(swin['type'])
    settings: dict[str, Any] = dict(type=SPARSE_TWINS[kind])
    module = swin['type'] if isinstance(swin['type'], str) else swin['type'].__module__
    by_mmpretrain = scope == 'mmpretrain' or module.startswith('mmpretrain.')
    if by_mmpretrain and kind == 'SwinTransformer' and not MMPRETRAIN_ONLY & swin.keys():
        settings['arch'] = DEFAULT_ARCH  # what selects mmpretrain's names
    return settings


def make_hooks(cfg: Config, budget: str) -> list[dict[str, Any]]:
    """The two hooks, at places that fit the training's length.

    Raises:
        BadInputError: The training is too short for them, or has no validation.
    """
    train = cfg.get('train_cfg') or {}
    by_epoch = 'max_epochs' in train
    length = train.get('max_epochs') or train.get('max_iters') or 0
    unit = 'epochs' if by_epoch else 'iterations'
    if length < 2:
        raise BadInputError(
            f'The config trains for {length} {unit if length != 1 else unit[:-1]}; it needs 2 at '
            'least, to adapt and to finetune.'
        )
    if not cfg.get('val_evaluator') or not cfg.get('val_dataloader'):
        raise BadInputError(
            'The config has no val_dataloader with val_evaluator, by which settings are compared.'
        )
    Budget.parse(budget)
    at_ = max(1, round(length * ADAPTATION_SHARE))
    where: dict[str, Any] = {} if by_epoch else dict(by_epoch=False)
    search = dict(type='SparsitySearchHook', **where, at=at_, budget=budget, metric=metric_of(cfg))
    if any(needs_whole_set_by_name(m['type']) for m in metric_configs(cfg.val_evaluator)):
        search.update(num_images=None, final_images=None)
    return [dict(type='SparsityAdaptationHook', **where, begin=0, end=at_), search]


def evaluators_to_exchange(cfg: Config) -> list[str]:
    """The evaluators that need CUDA for boxes in cameras, for which ours takes any device."""
    return [f'{split}_evaluator' for split in ('val', 'test') if needs_cuda(cfg, split)]


class Start(NamedTuple):
    """What a sparse config starts from.

    Attributes:
        checkpoint: The user's; None for what the host's config starts from.
        whole: Whether it is the whole model's.
        former: What the host's config loads as a whole.
    """

    checkpoint: str | None
    whole: bool
    former: str | None

    def lines(self, learning_rate: str) -> list[str]:
        """What the config says of it.

        Args:
            learning_rate: The line that sets the one for trained models.
        """
        if self.checkpoint is None:
            return [
                "# Start from the trained dense model: load_from='dense.pth', at a learning rate "
                f'of {LEARNING_RATE:g}.'
            ]
        if not self.whole:
            return [
                '# The backbone starts from a Swin alone and the heads from nothing, so the '
                "learning rate stays the host's.",
                *(['load_from = None'] if self.former else []),
            ]
        path = self.checkpoint if '://' in self.checkpoint else os.path.abspath(self.checkpoint)
        return [f'load_from = {path!r}', learning_rate]


class Name(str):
    """A name that is written as it is, without quotes: of a class."""

    def __repr__(self) -> str:
        return str(self)


def write_call(settings: dict[str, Any]) -> str:
    """Writes a dict as ``dict(name=value, …)``."""
    inner = (
        f'{name}={write_call(value) if isinstance(value, dict) else repr(value)}'
        for name, value in settings.items()
    )
    return f'dict({", ".join(inner)})'


def write_config(cfg: Config, base: str, args: argparse.Namespace) -> str:
    """The text of the sparse config.

    Args:
        cfg: The host's config.
        base: How the file inherits it: its name, or for a pure-Python config its module, ``.base``.
        args: The command line.

    Raises:
        BadInputError: The config has no Swin to be pruned.
    """
    if is_kind((cfg.get('model') or {}).get('type', ''), 'SimMIM'):
        raise BadInputError(
            'SimMIM pre-training hides patches from the backbone, for which a pruned Swin has no '
            'use; make a config sparse that starts from its weights.'
        )
    places = list(find_swin(cfg.get('model') or {}))
    if len(places) != 1:
        raise BadInputError(
            f'The config has {len(places) or "no"} Swin backbones ({" or ".join(SPARSE_TWINS)}); '
            'exactly one can be made sparse.'
        )
    hooks = make_hooks(cfg, args.budget)
    swin = at(cfg.model, places[0])
    backbone = sparse_backbone(swin, str(cfg.get('default_scope') or ''))
    trained = args.checkpoint
    whole = trained is not None and is_whole_model(trained, places[0])
    if trained is not None:
        backbone = start_backbone(swin, backbone, trained, whole)
    start = Start(trained, whole, cfg.get('load_from'))
    pure_python = base.startswith('.') and not base.endswith('.py')
    write = write_pure_python if pure_python else write_text
    return '\n'.join(
        [
            f'# {args.config}, made sparse: adapted to any ratios, then searched, then finetuned.',
            *write(cfg, base, places[0], backbone, hooks, start),
            '',
        ]
    )


def write_text(
    cfg: Config,
    base: str,
    place: tuple[str, ...],
    backbone: dict[str, Any],
    hooks: list[dict[str, Any]],
    start: Start,
) -> list[str]:
    """The lines of a config that inherits by ``_base_``."""
    if isinstance(backbone.get('init_cfg'), dict) and 'init_cfg' in at(cfg.model, place):
        backbone['init_cfg'] = dict(_delete_=True, **backbone['init_cfg'])
    model = backbone
    for key in reversed(place):
        model = {key: model}
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else [*imports]
    imports += ['sparse_mm'] if 'sparse_mm' not in imports else []
    return [
        f'_base_ = {base!r}',
        f'custom_imports = {write_call(dict(imports=imports))}',
        f'model = {write_call(model)}',
        *start.lines(f'optim_wrapper = dict(optimizer=dict(lr={LEARNING_RATE!r}))'),
        *(f'{name} = dict(type={MONO!r})' for name in evaluators_to_exchange(cfg)),
        'custom_hooks = [',
        *(['    *_base_.custom_hooks,'] if cfg.get('custom_hooks') else []),
        *(f'    {write_call(hook)},' for hook in hooks),
        ']',
    ]


def write_pure_python(
    cfg: Config,
    base: str,
    place: tuple[str, ...],
    backbone: dict[str, Any],
    hooks: list[dict[str, Any]],
    start: Start,
) -> list[str]:
    """The lines of a config that inherits by ``read_base`` and names types by their classes."""
    backbone['type'] = Name(backbone['type'])
    for hook in hooks:
        hook['type'] = Name(hook['type'])
    own = write_call(backbone).removeprefix('dict')
    return [
        'from mmengine.config import read_base',
        '',
        'with read_base():',
        f'    from {base} import *',
        '',
        f'from sparse_mm.engine.hooks import {", ".join(hook["type"] for hook in hooks)}',
        f'from sparse_mm.models import {backbone["type"]}',
        '',
        f'model.{".".join(place)}.update{own}',
        *start.lines(f'optim_wrapper.optimizer.update(lr={LEARNING_RATE!r})'),
        *(f'{name}.update(type={MONO!r})' for name in evaluators_to_exchange(cfg)),
        'custom_hooks = [',
        *(['    *custom_hooks,'] if cfg.get('custom_hooks') else []),
        *(f'    {write_call(hook)},' for hook in hooks),
        ']',
    ]


def how_to_inherit(config: str, out: Path) -> str:
    """How a file names the config that it inherits.

    Args:
        config: ``PACKAGE::PATH``, or a file.
        out: The file that inherits.

    Raises:
        BadInputError: A pure-Python config cannot be imported from there.
    """
    if '::' in config:
        return config
    path = os.path.relpath(config, out.parent)
    if not Config._is_lazy_import(config):
        return path
    parts = Path(path).with_suffix('').parts
    names = [part for part in parts if part != '..']
    if not all(name.isidentifier() for name in names):
        raise BadInputError(
            f'{config!r} is a pure-Python config, which {str(out)!r} would import as '
            f'{".".join(names)!r}, and that is no name of a module; write the file beside it, by '
            '--out, or rename it.'
        )
    return '.' * (1 + len(parts) - len(names)) + '.'.join(names)


def main() -> None:
    """Reads the host's config, writes the sparse one, and reads that to be sure."""
    args = parse_args()
    cfg = read_base(args.config)
    stem = Path(args.config.rpartition('::')[2]).stem
    out = Path(args.out or f'sparse_{stem}.py')
    if out.suffix != '.py':
        raise BadInputError(f'--out must name a .py file, not {str(out)!r}.')
    if out.exists():
        raise BadInputError(f'{str(out)!r} is there already; name another file with --out.')
    base = how_to_inherit(args.config, out)
    text = write_config(cfg, base, args)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    except OSError as error:
        raise BadInputError(f'{str(out)!r} cannot be written ({error.strerror}).') from error
    read_config(str(out))
    print(text)
    print(f'written: {out}; train it by: python tools/train.py {out}')


if __name__ == '__main__':
    run(main)
