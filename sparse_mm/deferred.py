"""Classes that are registered by name now and imported on first use.

What builds on a host package imports it, which takes seconds. ``import sparse_mm`` registers such a
class as a stand-in; building it, deriving from it or reading its attributes imports the class,
which then replaces the stand-in in the registry.
"""

from importlib import import_module
from typing import Any

from mmengine.registry import Registry


class DeferredClass:
    """Stands for a class that has not been imported.

    Args:
        module: Where the class is defined, and registered with ``force=True``.
        name: Its name.
    """

    def __init__(self, module: str, name: str) -> None:
        self.__module__ = module
        self.__name__ = self.__qualname__ = name

    def load(self) -> type:
        """Imports the class."""
        found: type = getattr(import_module(self.__module__), self.__name__)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Builds an instance of the class."""
        return self.load()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Gives the class's attributes; looking for special methods imports nothing."""
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.load(), name)

    def __mro_entries__(self, bases: tuple) -> tuple[type]:
        """Lets classes be derived from it."""
        return (self.load(),)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self.load())

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, self.load())

    def __repr__(self) -> str:
        return f'<class {self.__module__}.{self.__name__}, imported on use>'


def register_deferred(registry: Registry, module: str, *names: str) -> None:
    """Registers classes that are imported on first use.

    Args:
        registry: One of MMEngine's root registries.
        module: Where the classes are defined.
        *names: Their names.
    """
    for name in names:
        if name not in registry.module_dict:  # the module may have been imported first
            registry.register_module(name=name, module=DeferredClass(module, name))
