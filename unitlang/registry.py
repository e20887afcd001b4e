"""Classes that are registered by being there: a new module of a package is found without being named anywhere."""

from collections.abc import Callable, Iterable
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import TypeVar

T = TypeVar("T")


def classes_in(package_name: str, package_path: Iterable[str], base: type[T]) -> list[type[T]]:
    """Import every module of a package and return the subclasses of `base` that they define.

    Abstract classes, classes that a module only imports, and `base` itself are left out.

    Args:
        package_name: the package's `__name__`.
        package_path: its `__path__`; modules of folders below it are not searched.
        base: class that all the wanted ones derive from.

    Returns:
        The classes in alphabetical order of their modules, within a module in the order of their definition.
    """
    names = sorted(module.name for module in iter_modules(package_path, f"{package_name}."))
    found: list[type[T]] = []
    for name in names:
        for value in vars(import_module(name)).values():
            if isinstance(value, type) and value.__module__ == name and issubclass(value, base):
                found += [] if value is base or isabstract(value) else [value]
    return found


def by_name(classes: Iterable[type[T]], name: Callable[[type[T]], str]) -> dict[str, type[T]]:
    """Return the classes by the name that each is registered under, in their order.

    Args:
        classes: as `classes_in` returns them.
        name: gives the name of a class.

    Raises:
        TypeError: two classes have the same name.
    """
    named: dict[str, type[T]] = {}
    for value in classes:
        other = named.setdefault(name(value), value)
        if other is not value:
            raise TypeError(f"{value.__module__} and {other.__module__} both define `{name(value)}`: rename one")
    return named
