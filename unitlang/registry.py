"""Registration by presence: the classes of a new module in a package are found without being named anywhere."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def classes_in(package_name: str, package_path: Iterable[str], base: type[T]) -> list[type[T]]:
    """Import every module of a package and return the subclasses of `base` that they define.

    Abstract classes, imported classes and `base` itself are left out.

    Args:
        package_name: the package's `__name__`.
        package_path: its `__path__`; subfolders are not searched.
        base: common base class of the wanted classes.

    Returns:
        The classes, ordered by module name and by definition within a module.
    """
    names = sorted(module.name for module in iter_modules(package_path, f"{package_name}."))
    return [found for name in names for found in classes_of(import_module(name), base)]


def classes_of(module: ModuleType, base: type[T]) -> list[type[T]]:
    """Return the subclasses of `base` that a module defines, in their order, without `base` and abstract ones."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and issubclass(value, base)
        and value is not base
        and not isabstract(value)
    ]


def by_name(classes: Iterable[type[T]], name: Callable[[type[T]], str]) -> dict[str, type[T]]:
    """Return the classes by registered name, in the given order.

    Args:
        classes: as returned by `classes_in`.
        name: returns the name of a class.

    Raises:
        TypeError: two classes have the same name.
    """
    named: dict[str, type[T]] = {}
    for value in classes:
        other = named.setdefault(name(value), value)
        if other is not value:
            raise TypeError(f"{value.__module__} and {other.__module__} both define `{name(value)}`: rename one")
    return named


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the remedy for a misspelt name: the nearest known one, or all if none is near."""
    near = get_close_matches(name, sorted(known), n=1)
    return f"did you mean `{near[0]}`?" if near else f"there are {', '.join(sorted(known))}"
