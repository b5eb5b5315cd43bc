"""Reads configs for all tools, with a clear message for each mistake."""

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from mmengine.config import Config, ConfigDict

from sparse_mm.engine.files import expand_path
from sparse_mm.engine.hosts import AMP_OPTIM_WRAPPER, AMP_SETTINGS, dataset_needs, is_kind, name_of
from sparse_mm.engine.published_configs import PUBLISHED, forget_our_scope
from sparse_mm.errors import BadInputError

CHECKOUT = Path(__file__).resolve().parents[2]
SPLITS = 'train', 'val', 'test'


def read_config(path: str, overrides: dict[str, Any] | None = None) -> Config:
    """Reads a config file.

    ``data_root`` among the overrides moves every data set and evaluator that lies below the
    config's own folder; without it, environment variables such as ``COCO_ROOT`` name the folders
    of data sets that are not where the config expects them. ``~`` and ``$NAME`` stand for their
    folders at the beginning of a path. A data loader without workers keeps none alive.

    Args:
        path: The file.
        overrides: What ``--cfg-options`` gives.

    Raises:
        BadInputError: There is no such file, it cannot be read, or an override does not fit.
    """
    # Configs of projects/ import their packages from there: a checkout, or what a wheel brings.
    for folder in (CHECKOUT, PUBLISHED):
        if (folder / 'projects').is_dir() and str(folder) not in sys.path:
            sys.path.append(str(folder))
    path = expand_path(path)
    if not os.path.isfile(path):
        raise BadInputError(f'There is no config file {path!r}.')
    try:
        cfg = Config.fromfile(path)
    except BadInputError:
        raise
    except (Exception, SystemExit) as error:  # a config is a program, and may fail in any way
        raise BadInputError(_say(path, error)) from error
    forget_our_scope(cfg._cfg_dict)
    used_amp = _uses_amp(cfg)
    options = dict(overrides or {})
    if 'data_root' in options:
        old, new = _data_root(cfg), str(options['data_root'])
        _change_strings(cfg._cfg_dict, lambda text: _moved(text, old, new))
    else:
        _find_by_environment(cfg)
    _override(cfg, options)
    _change_strings(cfg._cfg_dict, expand_path)
    if used_amp and not _uses_amp(cfg):
        for name in AMP_SETTINGS:
            cfg.optim_wrapper.pop(name, None)
    for split in SPLITS:
        _settle_workers(cfg.get(f'{split}_dataloader'))
        _settle_collation(cfg.get(f'{split}_dataloader'))
    return cfg


def lost_hooks(path: str, cfg: Config) -> list[str]:
    """The hooks of the config that a file inherits, which its own ``custom_hooks`` replaced.

    Args:
        path: The file.
        cfg: What was read from it.
    """
    path = expand_path(path)
    text = Path(path).read_text()
    if '_base_' not in text or 'custom_hooks' not in text:
        return []
    kept = _hook_names(cfg)
    lost = []
    for base in Config._get_base_files(path):
        inherited = Config.fromfile(
            Config._get_cfg_path(base, path)[0], import_custom_modules=False
        )
        lost += [name for name in _hook_names(inherited) if name not in kept]
    return lost


def _hook_names(cfg: Config) -> list[str]:
    hooks = cfg.get('custom_hooks') or ()
    return [name_of(hook['type']) for hook in hooks if isinstance(hook, dict) and 'type' in hook]


def _say(path: str, error: BaseException) -> str:
    """The sentence about an error while a config was read, with its file and line."""
    where = _place(path, error.__traceback__)
    if isinstance(error, RecursionError):
        return f'The config {where} inherits itself, perhaps by way of others; see to its _base_.'
    if isinstance(error, SystemExit):
        return f'The config {where} ends the program itself (sys.exit).'
    base = _base_that_is_no_path(error.__traceback__)
    if base is not None:
        return f'The config {where} has {base!r} in _base_, which takes a path or a list of paths.'
    if isinstance(error, ImportError):
        cause: BaseException = error
        while isinstance(cause.__context__, ImportError):  # MMEngine says less at each level
            cause = cause.__context__
        mmseg = find_spec('mmseg')
        if str(cause).startswith('mmsegmentation is not installed') and mmseg and mmseg.origin:
            folder = Path(mmseg.origin).parent / '.mim' / 'configs'
            return (
                f'The config {where} inherits an mmseg:: config, which this MMEngine looks for in '
                'a package called mmsegmentation, and its fork has another name; name the '
                f'inherited file by its path, {folder}/….'
            )
        return (
            f'The config {where} imports what is not there: {cause}; install it, or put its folder '
            'into PYTHONPATH.'
        )
    if isinstance(error, AttributeError | KeyError):
        detail = str(error).strip('"\'')
        if (
            isinstance(error, AttributeError)
            and isinstance(error.obj, list)
            and error.name == 'get'
        ):
            detail = 'it holds a list, where a config holds named settings'
        elif isinstance(error, AttributeError) and error.name:
            detail = f'the base config has no {error.name!r} there'
        elif isinstance(error, KeyError):
            detail = f'there is no {detail!r}' if ' ' not in detail else detail
        return f'The config {where} cannot be read: {detail}.'
    detail = ' '.join(str(error).split()) or type(error).__name__
    return f'The config {where} cannot be read: {detail.rstrip(".")}.'


def _base_that_is_no_path(traceback: TracebackType | None) -> Any:
    """What ``_base_`` named where it is no path at all; None otherwise."""
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name == '_get_cfg_path':
            base = traceback.tb_frame.f_locals['cfg_path']
            return None if isinstance(base, str) else base
        traceback = traceback.tb_next
    return None


def _place(path: str, traceback: TracebackType | None) -> str:
    """The file, of those that inherit each other, and the line."""
    file, line = path, None
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name in ('_file2dict', '_parse_lazy_import'):
            file = str(frame.f_locals.get('filename', file))
        # MMEngine compiles a config's text without a name, or by its own.
        if frame.f_code.co_filename in ('', '<string>', '<unknown>', file):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return repr(file) if line is None else f'{file!r} (line {line})'


def _override(cfg: Config, options: dict[str, Any]) -> None:
    """Merges ``--cfg-options``; what is None in the config becomes a dict where a key is set in it.

    Raises:
        BadInputError: A key goes through something that is neither.
    """
    for key in options:
        node: Any = cfg._cfg_dict
        parts = key.split('.')
        for i, part in enumerate(parts[:-1]):
            if isinstance(node, list | tuple):
                if not part.isdigit() or int(part) >= len(node):
                    raise BadInputError(
                        f'--cfg-options {key}: {".".join(parts[:i])} is a list of {len(node)}, '
                        f'which has no {part!r}; count from 0.'
                    )
                node = node[int(part)]
                continue
            if not isinstance(node, dict):
                raise BadInputError(
                    f'--cfg-options {key}: {".".join(parts[:i])} is {node!r}, in which nothing '
                    'can be set.'
                )
            if node.get(part, False) is None:
                node[part] = ConfigDict()
            node = node.get(part, {})
        if not isinstance(node, dict | list | tuple):
            raise BadInputError(
                f'--cfg-options {key}: {".".join(parts[:-1])} is {node!r}, in which nothing can be '
                'set.'
            )
    try:
        cfg.merge_from_dict(options)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise BadInputError(f'--cfg-options do not fit the config: {error}.') from error


def _uses_amp(cfg: Config) -> bool:
    wrapper = cfg.get('optim_wrapper')
    return isinstance(wrapper, dict) and is_kind(wrapper.get('type', ''), AMP_OPTIM_WRAPPER)


def _data_root(cfg: Config) -> str | None:
    """The folder that ``data_root`` stands for: the config's own, or its data sets'.

    Raises:
        BadInputError: The data sets have several, and none is the config's.
    """
    if isinstance(cfg.get('data_root'), str):
        return cfg.data_root
    roots = set()
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in datasets_in(loader.get('dataset') if loader else None):
            roots.add((dataset.get('data_root') or '').rstrip('/'))
    roots.discard('')
    if len(roots) > 1:
        raise BadInputError(
            f'data_root= could stand for any of {", ".join(sorted(roots))}; set '
            'train_dataloader.dataset.data_root=FOLDER and so on instead.'
        )
    return next(iter(roots), None)


def datasets_in(dataset: Any) -> Iterator[dict[str, Any]]:
    """Yields a data set and, where it wraps others, those."""
    if isinstance(dataset, dict):
        yield dataset
        for inner in [dataset.get('dataset'), *(dataset.get('datasets') or ())]:
            yield from datasets_in(inner)


def _find_by_environment(cfg: Config) -> None:
    """Moves data sets that are not there to the folder that their environment variable names."""
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in datasets_in(loader.get('dataset') if loader else None):
            old, new = dataset.get('data_root'), ''
            if 'type' in dataset:
                new = os.environ.get(dataset_needs(dataset['type']).variable, '')
            if new and isinstance(old, str) and not os.path.isdir(old):
                _change_strings(cfg._cfg_dict, lambda text, a=old, b=new: _moved(text, a, b))


def _moved(text: str, old: str | None, new: str) -> str:
    """Moves a path that is the folder ``old`` or lies below it."""
    if old is None or not old.strip('/.'):
        return text
    folder = old.rstrip('/')
    if text in (old, folder) or text.startswith(folder + '/'):
        return new.rstrip('/') + text[len(folder) :]
    return text


def _change_strings(node: Any, change: Any) -> Any:
    """Changes all strings in a nested config, in place; gives what a string becomes."""
    if isinstance(node, str):
        return change(node)
    if isinstance(node, dict):
        for key in list(node):
            # Past ConfigDict's own access, which would build classes of lazy imports.
            value = dict.__getitem__(node, key)
            changed = _change_strings(value, change)
            if changed is not value:
                node[key] = changed
    elif isinstance(node, list):
        node[:] = [_change_strings(item, change) for item in node]
    elif type(node) is tuple:
        return tuple(_change_strings(item, change) for item in node)
    return node


def _settle_workers(loader: Any) -> None:
    """Without workers none is kept alive, and none fetches ahead: torch refuses both."""
    if isinstance(loader, dict) and loader.get('num_workers', 0) == 0:
        if loader.get('persistent_workers'):
            loader['persistent_workers'] = False
        loader.pop('prefetch_factor', None)


def _settle_collation(loader: Any) -> None:
    """Leaves the host's name to no collation function: MMEngine hands it all but its type.

    It gives that name to what is inherited from a package, as from ``mmpretrain::``.
    """
    if isinstance(loader, dict) and isinstance(loader.get('collate_fn'), dict):
        loader['collate_fn'].pop('_scope_', None)
