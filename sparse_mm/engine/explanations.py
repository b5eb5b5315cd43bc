"""Error messages for mistakes in a config that MMEngine finds while building."""

import inspect
import re
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any

from mmengine import registry as registries
from mmengine.registry import Registry

from sparse_mm.engine.setup_failures import as_raised, explain_set_up
from sparse_mm.errors import nearest

FILE_BACKENDS = 'mmengine.fileio.'


def explain(error: Exception) -> str | None:
    """Says what is wrong with a config, from the error that building from it ended in.

    Args:
        error: Any error.

    Returns:
        A sentence; None for errors that are no plain mistake in a config, or in the set-up.
    """
    error = as_raised(error)
    if isinstance(error, ImportError):
        return _explain_import(error)
    text = str(error)
    if isinstance(error, AssertionError):
        broken = re.fullmatch(r'failed to load image: (.+)', text)  # mmcv's LoadImageFromFile
        if broken is not None:
            return (
                f'The image {broken[1]!r} cannot be read; copy it again, or take it out of the set.'
            )
    kind = _optimizer_without_class(error)
    if kind is not None:
        return (
            f'The config names the optimizer {kind!r}, and there is none of that name'
            f'{nearest(kind, _known("optimizer")) or "."}'
        )
    unknown = re.match(r'["\']?(\S+) is not in the (\S+?)::(.+?) registry', text)
    if isinstance(error, KeyError) and unknown:
        return say_unknown(*unknown.groups())
    built = _what_was_built(error.__traceback__)
    if isinstance(error, TypeError) and built is not None:
        extra = re.search(r"got an unexpected keyword argument '(\w+)'", text)
        if extra:
            return (
                f'{_name(built)} has no argument {extra[1]!r}, which the config gives it'
                f'{nearest(extra[1], _arguments(built)) or "."}'
            )
        lacking = re.search(
            r'missing \d+ required (?:positional|keyword-only) arguments?: (.+)', text
        )
        if lacking:
            return f'{_name(built)} needs {lacking[1]}, which the config does not give.'
    return explain_set_up(error)


def say_unknown(kind: str, scope: str, name: str) -> str:
    """The sentence about a type that a package has not.

    Args:
        kind: The type, as the config names it.
        scope: Of the package that was searched.
        name: Of the registry: ``'model'``.
    """
    own = kind.rpartition('.')[2]
    others = sorted(_scopes_of(own, name) - {scope})
    if others:
        return (
            f'The config names type={kind!r}, which is a {name} of {others[0]} and not of {scope}; '
            f'write type={f"{others[0]}.{own}"!r}, or set default_scope={others[0]!r}.'
        )
    return (
        f'The config names type={kind!r}, and there is no such {name} in {scope}'
        f'{nearest(own, _known(name)) or "."} A type of your own needs its module in '
        'custom_imports.'
    )


def _explain_import(error: ImportError) -> str | None:
    """Says what a file backend of MMEngine needs, or what mmpretrain does not work beside."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is not None and str(last.tb_frame.f_globals.get('__name__')).startswith(FILE_BACKENDS):
        return (
            f'{str(error).rstrip(".")}: a path or backend_args in the config ask for it (s3:// and '
            'the like); or name files of this machine.'
        )
    if not (error.name or '').startswith('transformers'):
        return None
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_globals.get('__name__', '').startswith('mmpretrain'):
            break
        traceback = traceback.tb_next
    else:
        return None
    try:
        found = version('transformers')
    except PackageNotFoundError:
        return None
    return (
        f'mmpretrain cannot be imported beside transformers {found}: it needs names that 4.52 '
        "removed. Nothing here needs transformers: uninstall it, or take 'transformers<4.52'."
    )


def _optimizer_without_class(error: Exception) -> str | None:
    """The optimizer of a config for which MMEngine has no class, if that is what ended the run."""
    traceback = error.__traceback__
    while traceback is not None:
        found = traceback.tb_frame.f_locals
        if traceback.tb_frame.f_globals.get('__name__', '').startswith('mmengine.optim'):
            settings = found.get('optimizer_cfg')
            if isinstance(settings, dict) and found.get('optimizer_cls', settings) is None:
                return str(settings.get('type'))
        traceback = traceback.tb_next
    return None


def _known(name: str) -> set[str]:
    """All types in registries of a name, in any imported scope."""
    known: set[str] = set()
    for root in vars(registries).values():
        if isinstance(root, Registry) and root.name == name:
            known |= set(root.module_dict)
            for child in root.children.values():
                known |= set(child.module_dict)
    return known


def _scopes_of(kind: str, name: str) -> set[str]:
    """The imported scopes whose registry of a name contains a type."""
    return {
        child.scope
        for root in vars(registries).values()
        if isinstance(root, Registry) and root.name == name
        for child in root.children.values()
        if kind in child.module_dict
    }


def _what_was_built(traceback: TracebackType | None) -> Any:
    """The class or function whose call from a config failed at once; None if it failed inside."""
    last = None
    while traceback is not None:
        last, traceback = traceback.tb_frame, traceback.tb_next
    if last is None or last.f_code.co_name != 'build_from_cfg':
        return None
    return last.f_locals.get('obj_cls')


def _name(built: Any) -> str:
    return getattr(built, '__name__', repr(built))


def _arguments(built: Any) -> list[str]:
    try:
        return list(inspect.signature(built).parameters)
    except (TypeError, ValueError):
        return []
