"""Error messages for failures while objects are built from a config.

A mistake in a config often shows as an assertion or an arithmetic error deep in a package. Where it
happened while something was built, and no code of the user's own took part, the sentence names what
was built, the error and its place; a user's own code keeps its traceback.
"""

import linecache
import re
import sysconfig
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from torch import nn

CHECKOUT = Path(__file__).resolve().parents[2]
INSTALLED = tuple(
    str(path)
    for path in (
        *(sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib')),
        *(CHECKOUT / name for name in ('sparse_mm', 'projects', 'tools', '.venv')),
    )
)
OURS = tuple(str(CHECKOUT / name) + '/' for name in ('sparse_mm', 'projects', 'tools'))
# Exceptions of mistakes in code; our own checks of settings raise BadInputError.
SLIPS = AttributeError, LookupError, TypeError, NameError
# What MMEngine's runner calls its methods that build from the config.
SETS_UP = '__init__', 'build_', 'register_', 'set_', 'setup_'
# What heads of detectors make of their train_cfg.
MADE_BY = re.compile('assigner|sampler')
MISFITS = re.compile(
    r'to have \d+ channels, but got \d+ channels|mat1 and mat2 shapes cannot be multiplied'
    r'|Given normalized_shape='
)
LABELS = re.compile(
    r'^Target -?\d+ is out of bounds|^Class values must be smaller than num_classes'
)
HOSTS = 'mmdet', 'mmseg', 'mmpretrain', 'mmdet3d', 'mmcv', 'mmengine'
SCORES = 'compute_metrics', 'evaluate'


class Call(NamedTuple):
    """One call of a traceback."""

    file: str
    name: str
    line: int
    values: dict[str, Any]


def explain_set_up(error: Exception) -> str | None:
    """Says what could not be built from a config, which parts do not fit, or what is not scored.

    Args:
        error: Any error, with its traceback.

    Returns:
        A sentence; None for an error that came later, in a user's own code, or of memory.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError | ImportError):
        return None
    calls = _calls(error.__traceback__)
    return (
        _unknown_best(error, calls)
        or _foreign_class(error, calls)
        or _unsettled(error, calls)
        or _misfit(error, calls)
        or _no_such_class(error, calls)
        or _not_scored(error, calls)
        or _unfit_hook(error, calls)
        or _not_built(error, calls)
        or _not_computed(error, calls)
    )


def as_raised(error: Exception) -> Exception:
    """The error itself, where MMEngine raised another in place of it.

    A ``TypeError`` in a hook is raised again with the hook's name, and without its own traceback.
    """
    calls = _calls(error.__traceback__)
    inner = error.__context__
    if isinstance(inner, TypeError) and calls and calls[-1].name == 'call_hook':
        return inner
    return error


def _calls(traceback: TracebackType | None) -> list[Call]:
    """The calls that led to an error, the outermost first."""
    calls = []
    while traceback is not None:
        frame = traceback.tb_frame
        code = frame.f_code
        calls.append(Call(code.co_filename, code.co_name, traceback.tb_lineno, frame.f_locals))
        traceback = traceback.tb_next
    return calls


def _unknown_best(error: Exception, calls: list[Call]) -> str | None:
    """A misspelt ``save_best``, which MMEngine looks up after the first evaluation."""
    for call in calls:
        metrics = call.values.get('metrics')
        if call.name == '_save_best_checkpoint' and isinstance(error, KeyError) and metrics:
            return (
                f'The checkpoint hook has save_best={error.args[0]!r}; the evaluator gives '
                f'{", ".join(sorted(metrics))}.'
            )
    return None


def _foreign_class(error: Exception, calls: list[Call]) -> str | None:
    """A class that is not in mmdet3d's data set, whose ``metainfo`` can only select some."""
    last = calls[-1] if calls else None
    if not isinstance(error, ValueError) or last is None or 'not in tuple' not in str(error):
        return None
    known = getattr(last.values.get('self'), 'METAINFO', {}).get('classes')
    name = last.values.get('name')
    if Path(last.file).name != 'det3d_dataset.py' or not known or name in known:
        return None
    return (
        f'metainfo.classes of {_kind(last)} names {name!r}; it can only select some of '
        f'{", ".join(known)}. Other classes need a data set of your own, a class derived from it '
        'with its own METAINFO.'
    )


def _unsettled(error: Exception, calls: list[Call]) -> str | None:
    """A module of a model that was given no ``train_cfg`` or ``test_cfg``."""
    calls = [call for call in calls if call.name != '__getattr__']  # of nn.Module
    part = calls[-1].values.get('self') if calls else None
    if not isinstance(error, AttributeError | TypeError) or not isinstance(part, nn.Module):
        return None
    if not _is_installed(calls[-1].file):
        return None
    line = linecache.getline(calls[-1].file, calls[-1].line)
    for name, work in (('train_cfg', 'be trained'), ('test_cfg', 'predict')):
        # What the part makes of its settings is missing, or they themselves are None.
        lacks = (
            name == 'train_cfg'
            and isinstance(error, AttributeError)
            and MADE_BY.search((error.name or '') if error.obj is part else line)
        )
        if getattr(part, name, '') in (None, {}) and (lacks or name in line):
            return (
                f'{type(part).__name__} cannot {work} without {name}, which the config sets to '
                f"None or leaves out; give model.{name} the settings of the host's own config."
            )
    return None


def _misfit(error: Exception, calls: list[Call]) -> str | None:
    """A module whose input channels differ from the output of the one before it."""
    if not isinstance(error, RuntimeError) or not MISFITS.search(str(error)):
        return None
    part = _failed_part(calls)
    if part is None or not _is_installed(part.file):
        return None
    return (
        f'{_kind(part)} does not fit what comes before it in the model ({_text(error)}); let '
        'in_channels and the like in its config be the channels that it is given.'
    )


def _no_such_class(error: Exception, calls: list[Call]) -> str | None:
    """A label of the data that is none of a head's classes."""
    part = _failed_part(calls)
    if not isinstance(error, IndexError | RuntimeError) or not LABELS.search(str(error)):
        return None
    if part is None or not _is_installed(part.file):
        return None
    return (
        f'A label of the data is none of the classes of {_kind(part)} ({_text(error)}); let '
        "num_classes of the heads be the number of the data set's classes, and see that its "
        'annotations have no others.'
    )


def _not_computed(error: Exception, calls: list[Call]) -> str | None:
    """A part of a host's model that does not take what it is given, in an assertion's words."""
    part = _failed_part(calls)
    if not isinstance(error, AssertionError | IndexError | TypeError) or part is None:
        return None
    last = calls[-1]
    in_host = str(type(part.values['self']).__module__).startswith(HOSTS)
    inside = calls[_first_part(calls) :]
    theirs = all(_is_installed(call.file) and not call.file.startswith(OURS) for call in inside)
    if not in_host or not theirs:
        return None
    line = linecache.getline(last.file, last.line).strip()
    text = f'{_text(error)}: {line}' if _text(error) else line
    return (
        f'{_kind(part)} cannot compute what the config gives it: {type(error).__name__}: {text} '
        f'({last.file}, line {last.line}).'
    )


def _not_scored(error: Exception, calls: list[Call]) -> str | None:
    """A host's metric that refuses its own settings as late as it computes."""
    if not isinstance(error, ValueError | KeyError | AssertionError | TypeError | IndexError):
        return None
    metrics = [
        call.values['self']
        for call in calls
        if call.name in SCORES and isinstance(call.values.get('self'), BaseMetric)
    ]
    if not metrics or not _is_installed(calls[-1].file) or calls[-1].file.startswith(OURS):
        return None
    text = error.args[0] if isinstance(error, KeyError) and error.args else _text(error)
    said = f'{type(metrics[-1]).__name__} of the evaluator gives no scores: '
    if not isinstance(error, TypeError | IndexError):
        return f'{said}{str(text).rstrip(".")}.'
    last = calls[-1]  # what Python says does not name the setting
    line = linecache.getline(last.file, last.line).strip()
    return (
        f'{said}{type(error).__name__}: {text}, in {line!r} ({last.file}, line {last.line}); check '
        'the kinds of its settings in the config.'
    )


def _unfit_hook(error: Exception, calls: list[Call]) -> str | None:
    """A hook of MMEngine or a host that fails at the kind of one of its own settings."""
    last = calls[-1] if calls else None
    if not isinstance(error, TypeError) or last is None or calls[0].name != 'call_hook':
        return None
    inside = calls[1:]
    theirs = all(_is_installed(call.file) and not call.file.startswith(OURS) for call in inside)
    if not theirs or not isinstance(last.values.get('self'), Hook):
        return None
    line = linecache.getline(last.file, last.line).strip()
    return (
        f'{_kind(last)} cannot work with its settings in the config: TypeError: {_text(error)}, in '
        f'{line!r} ({last.file}, line {last.line}); check their kinds.'
    )


def _failed_part(calls: list[Call]) -> Call | None:
    """The call in the innermost part of a model that a config names, if one was at work."""
    parts = [
        call
        for call in calls
        if isinstance(call.values.get('self'), nn.Module)
        and not type(call.values['self']).__module__.startswith(('torch.', 'mmcv.'))
    ]
    return parts[-1] if parts else None


def _first_part(calls: list[Call]) -> int:
    modules = (i for i, call in enumerate(calls) if isinstance(call.values.get('self'), nn.Module))
    return next(modules, 0)


def _kind(call: Call) -> str:
    return type(call.values['self']).__name__


def _text(error: Exception) -> str:
    return next(iter(str(error).splitlines()), '').rstrip('.')


def _not_built(error: Exception, calls: list[Call]) -> str | None:
    places = [i for i, call in enumerate(calls) if _sets_up(call)]
    if not places or not all(_is_installed(call.file) for call in calls[places[-1] :]):
        return None
    if isinstance(error, SLIPS) and _is_ours(calls[places[-1] + 1 :]):
        return None
    last = calls[places[-1]]
    built = last.values.get('obj_cls') if last.name == 'build_from_cfg' else None
    what = getattr(built, '__name__', None) or 'The run'
    where = calls[-1]
    told = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = ' '.join(str(told).split()).rstrip('.')
    if not text:  # an assertion without words
        text = linecache.getline(where.file, where.line).strip()
    if len(text) > 300:  # with a whole config in it
        text = f'{text[:300]} …'
    return (
        f'{what} cannot be built from what the config gives it: {type(error).__name__}: {text} '
        f'({where.file}, line {where.line}).'
    )


def _is_ours(calls: list[Call]) -> bool:
    """Whether an error arose in our own code, below the constructor that was given the settings.

    Settings of a wrong kind fail in the constructor itself, or in what it checks them by.
    """
    if not calls or not calls[-1].file.startswith(OURS):
        return False
    inner = [call for call in calls if call.name not in ('__init__', '__new__')]
    return bool(inner)


def _sets_up(call: Call) -> bool:
    """Whether a call builds from the config: by MMEngine's builder, or by its runner."""
    path = Path(call.file)
    if call.name == 'build_from_cfg':
        return path.parts[-3:] == ('mmengine', 'registry', 'build_functions.py')
    in_runner = path.parts[-3:] == ('mmengine', 'runner', 'runner.py')
    return in_runner and call.name.startswith(SETS_UP)


def _is_installed(file: str) -> bool:
    return file.startswith((*INSTALLED, '<'))
