"""The types that a config names, and the classes that they stand for."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any


def names_of(kind: Any) -> tuple[str, ...]:
    """The names by which a type is known: its own, then those of the classes above it.

    Args:
        kind: A config's ``type``: a name, a dotted name, a class or a function.
    """
    if isinstance(kind, type):
        return tuple(parent.__name__ for parent in kind.__mro__[:-1])
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', type(kind).__name__)
    return (name.rpartition('.')[2],)


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
