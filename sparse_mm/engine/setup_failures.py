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
        or _unsettled(error, calls)
        or _misfit(error, calls)
        or _not_built(error, calls)
    )


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
    parts = [
        call
        for call in calls
        if isinstance(call.values.get('self'), nn.Module)
        and not type(call.values['self']).__module__.startswith(('torch.', 'mmcv.'))
    ]
    if not parts or not _is_installed(parts[-1].file):
        return None
    text = str(error).splitlines()[0].rstrip('.')
    return (
        f'{type(parts[-1].values["self"]).__name__} does not fit what comes before it in the model '
        f'({text}); let in_channels and the like in its config be the channels that it is given.'
    )


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
