"""The types that a config names, and the classes that they stand for."""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import mmengine.registry as roots
from mmengine.registry import Registry


def names_of(kind: Any) -> tuple[str, ...]:
    """The names by which a type is known: its own, then those of the classes above it.

    Of a class that is given by its name, the classes above it are known if it is the user's own: it
    is registered by then. Those of the hosts are known by their names, so that nothing is imported.

    Args:
        kind: A config's ``type``: a name, a dotted name, a class or a function.
    """
    if isinstance(kind, type):
        return tuple(parent.__name__ for parent in kind.__mro__[:-1])
    if not isinstance(kind, str):
        return (getattr(kind, '__name__', type(kind).__name__),)
    name = kind.rpartition('.')[2]
    own = _own_class(kind)
    return (name,) if own is None else (name, *(n for n in names_of(own) if n != name))


def _own_class(kind: str) -> type | None:
    """The class of a user's own module that a name stands for, if that module is imported."""
    module, _, name = kind.rpartition('.')
    found = [getattr(sys.modules.get(module), name, None)]
    found += [registry.module_dict.get(name) for registry in _registries()]
    for one in found:
        if isinstance(one, type):
            package = one.__module__.partition('.')[0]
            if package != 'sparse_mm' and not package.startswith('mm'):
                return one
    return None


def _registries() -> Iterator[Registry]:
    """MMEngine's registries, and those of the hosts that are imported."""
    for root in vars(roots).values():
        if isinstance(root, Registry):
            yield root
            yield from root.children.values()


def name_of(kind: Any) -> str:
    """A type's own name, without scope and module."""
    return names_of(kind)[0]


def is_kind(kind: Any, *names: str) -> bool:
    """Whether a type is one of those named, or a class derived from one."""
    return not set(names).isdisjoint(names_of(kind))


def types_in(node: Any) -> Iterator[Any]:
    """Yields every ``type`` in a config, at any depth."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield node['type']
        for value in node.values():
            yield from types_in(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from types_in(value)


def load(path: str) -> Any:
    """Imports what a dotted path names, and with it the package, which is slow."""
    module, _, name = path.rpartition('.')
    return getattr(import_module(module), name)
