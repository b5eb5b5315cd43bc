"""The classes that a checkpoint may contain besides tensors and plain containers.

torch's safe unpickler (``weights_only=True``) makes nothing but what was declared to it by name.
Declared here is what MMEngine, the host packages, numpy and torch themselves put into a checkpoint:
log histories, schedulers' annealing functions, numpy values of plain dtypes, paths, dates. Each
name stands for a function or class of this file that makes that one thing and checks what it is
given. numpy's own functions are not declared: a dtype's saved state can make numpy take raw bytes
for addresses.

MMEngine's fork (onedl) declares classes itself, some of them under the same names, for the length
of each load. There ours are declared for the length of ours, so that neither meets the other's.
"""

import datetime
import functools
import pathlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import checkpoint as mmengine_checkpoint

from sparse_mm.errors import UnsafeContentError

# Whether MMEngine's own loaders declare classes while they load: its fork's do.
MMENGINE_DECLARES = hasattr(mmengine_checkpoint, 'get_torch_safe_globals')
PLAIN_KINDS = 'biufcSUmM'  # bool, integers, floats, complex, bytes, str, timedelta64, datetime64
STATISTICS = ('min', 'max', 'current', 'mean')
ANNEALING = ('_annealing_cos', '_annealing_linear')
FACTORIES = ('bool', 'dict', 'float', 'int', 'list', 'str', 'tuple')  # of default dictionaries


class _Name:
    """Stands for a class that is only named in a checkpoint, never made from it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class PlainDtype:
    """Stands in for ``numpy.dtype``: a dtype without objects, fields or flags of its own.

    Args:
        name: As numpy writes it, without its byte order: ``'f8'``.
        align: Always False for plain dtypes.
        copy: Always True in pickles.
    """

    def __init__(self, name: Any, align: bool = False, copy: bool = True) -> None:
        try:
            self.dtype = np.dtype(name)
        except Exception as error:  # numpy raises half a dozen kinds
            raise UnsafeContentError(f'a numpy dtype {name!r}') from error
        if self.dtype.kind not in PLAIN_KINDS or self.dtype.subdtype is not None:
            raise UnsafeContentError(f'a numpy array of dtype {self.dtype}')

    def __setstate__(self, state: Any) -> None:
        """Takes over the byte order and the unit of times; nothing else of a dtype's state."""
        if not isinstance(state, tuple) or len(state) < 8 or state[2:5] != (None, None, None):
            raise UnsafeContentError('a numpy dtype with fields')
        if len(state) > 8 and self.dtype.kind in 'mM':
            unit, count, denominator = state[8][1][:3]
            unit = unit.decode() if isinstance(unit, bytes) else unit
            if denominator != 1 or not isinstance(count, int) or not unit.isalpha():
                raise UnsafeContentError(f'a numpy dtype in {state[8]!r}')
            if unit != 'generic':
                self.dtype = np.dtype(f'{self.dtype.kind}8[{count}{unit}]')
        if state[1] in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(state[1])


class PlainArray(np.ndarray):
    """An array that a checkpoint held; saves, computes and compares as any numpy array.

    It is a class of its own because an unpickler fills what it has made, and numpy's own filling
    trusts the file.
    """

    def __new__(cls, *_: Any) -> 'PlainArray':
        """Not made by a file's own call: only empty, to be filled."""
        raise UnsafeContentError('an array that does not say how it was made')

    __array_priority__ = -1.0  # together with a common array the result is a common array

    def __setstate__(self, state: Any) -> None:
        """Fills the array from what numpy wrote: version, shape, dtype, order, bytes."""
        _, shape, dtype, fortran, content = state
        if isinstance(content, str):  # as Python 2 wrote it
            content = content.encode('latin1')
        if not isinstance(dtype, PlainDtype) or not isinstance(content, (bytes, bytearray)):
            raise UnsafeContentError('a numpy array of Python objects')
        sizes = tuple(shape)
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise UnsafeContentError(f'a numpy array of shape {shape!r}')
        count = functools.reduce(lambda product, size: product * size, sizes, 1)
        if count * dtype.dtype.itemsize != len(content):
            raise UnsafeContentError(f'a numpy array of shape {sizes} with {len(content)} bytes')
        true_state = (1, sizes, dtype.dtype, bool(fortran), bytes(content))
        super().__setstate__(true_state)

    def __array_wrap__(self, array: np.ndarray, *_: Any) -> Any:
        """Results of computations are common arrays and scalars."""
        return np.asarray(array)[()]

    def __reduce__(self) -> Any:
        """Saved as the common array that it is."""
        return np.asarray(self).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as the common array that it is."""
        return np.asarray(self).__reduce_ex__(protocol)


def _array(owner: Any, shape: Any, typecode: Any) -> PlainArray:
    """Stands in for numpy's ``_reconstruct``, which makes the empty array to be filled."""
    if owner is not NDARRAY:
        raise UnsafeContentError(f'a numpy array as {owner!r}')
    return np.empty(0, np.int8).view(PlainArray)


def _scalar(dtype: Any, content: Any = b'') -> Any:
    """Stands in for numpy's ``scalar``."""
    if isinstance(content, str):
        content = content.encode('latin1')
    if not isinstance(dtype, PlainDtype) or not isinstance(content, (bytes, bytearray)):
        raise UnsafeContentError('a numpy scalar of a Python object')
    if dtype.dtype.itemsize != len(content):
        raise UnsafeContentError(f'a numpy scalar of {dtype.dtype} with {len(content)} bytes')
    if not content:  # an empty string; numpy has no buffers of them
        return dtype.dtype.type()
    return np.frombuffer(bytes(content), dtype.dtype)[0]


class _History(HistoryBuffer):
    """Stands in for MMEngine's ``HistoryBuffer``, which trusts its state; becomes one."""

    def __setstate__(self, state: Any) -> None:
        lengths = {'_log_history', '_count_history'}
        own = {key: state[key] for key in ('_max_length', 'max_length') if key in state}
        for name in lengths:
            if not isinstance(state.get(name), np.ndarray):
                raise UnsafeContentError('a log history without numbers')
            own[name] = np.array(state[name])
        self._set_default_statistics()
        self.__dict__.update(own)
        self.__class__ = HistoryBuffer


NDARRAY = _Name('numpy.ndarray')
ONE_CYCLE = _Name('OneCycleParamScheduler')


def _attribute(owner: Any, name: Any) -> Any:
    """Stands in for ``getattr``, by which a class's functions are pickled."""
    if owner is _History and name in STATISTICS:
        return getattr(HistoryBuffer, name)
    if owner is ONE_CYCLE and name in ANNEALING:
        return getattr(OneCycleParamScheduler, name)
    raise UnsafeContentError(f'{getattr(owner, "__name__", owner)}.{name}')


def _config(values: Any = None) -> ConfigDict:
    if values is not None and type(values) not in (dict, ConfigDict):
        raise UnsafeContentError(f'a ConfigDict of {type(values).__name__}')
    return ConfigDict(values or {})


def _default_dict(*_: Any) -> dict:
    """A dictionary: what its factory was matters to who fills it, not to who reads it."""
    return {}


def _deque(items: Any = (), *_: Any) -> list:
    return list(items)


def _no_bytes() -> bytes:
    """How an empty ``bytes`` is pickled."""
    return b''


def _maker(cls: type) -> Callable:
    """A function that makes a class's objects; not the class, whose attributes could be set."""

    def make(*arguments: Any) -> Any:
        return cls(*arguments)

    return make


@functools.cache
def _declared() -> list[Any]:
    """Names as they stand in checkpoints, with what each stands for here."""
    named: list[Any] = [
        (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (ONE_CYCLE, 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'),
        (_config, 'mmengine.config.config.ConfigDict'),
        (NDARRAY, 'numpy.ndarray'),
        (PlainDtype, 'numpy.dtype'),
        (PlainArray, 'sparse_mm.safe_classes.PlainArray'),  # what _reconstruct makes is filled
        (_default_dict, 'collections.defaultdict'),
        (_deque, 'collections.deque'),
        (_no_bytes, 'builtins.bytes'),
        (_maker(frozenset), 'builtins.frozenset'),
        (_maker(slice), 'builtins.slice'),
        (_maker(range), 'builtins.range'),
        torch.torch_version.TorchVersion,
    ]
    named += [(_attribute, f'{module}.getattr') for module in ('builtins', '__builtin__')]
    for core in ('core', '_core'):  # numpy 1 and numpy 2
        named.append((_array, f'numpy.{core}.multiarray._reconstruct'))
        named.append((_scalar, f'numpy.{core}.multiarray.scalar'))
    for name in ('date', 'datetime', 'time', 'timedelta', 'timezone'):
        named.append((_maker(getattr(datetime, name)), f'datetime.{name}'))
    for module in ('pathlib', 'pathlib._local'):  # the second from Python 3.13 on
        named.append((_maker(pathlib.Path), f'{module}.PosixPath'))
        named.append((_maker(pathlib.PurePosixPath), f'{module}.PurePosixPath'))
        for name in ('WindowsPath', 'PureWindowsPath'):
            named.append((_maker(pathlib.PureWindowsPath), f'{module}.{name}'))
    named += [(_Name(name), f'builtins.{name}') for name in FACTORIES]
    return named


def declare_safe_classes() -> None:
    """Lets ``torch.load(weights_only=True)`` read what the hosts put into their checkpoints."""
    torch.serialization.add_safe_globals(_declared())


@contextmanager
def safe_classes_declared() -> Iterator[None]:
    """As :func:`declare_safe_classes`, for the length of a ``with`` block."""
    known = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals([item for item in _declared() if item not in known]):
        yield
