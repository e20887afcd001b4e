"""The training stages: every module in `echox/recipes/stages/` is one, under its own name.

Importing this module and listing the names is cheap; `stage_class` imports the stage, and torch with it.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from echox.errors import EchoxError
from echox.recipes import stages
from unitlang.registry import classes_of, nearest

if TYPE_CHECKING:
    from echox.recipes.stage import Stage


def stage_names() -> tuple[str, ...]:
    """Return the names of all stages in alphabetical order, without importing any."""
    return tuple(sorted(module.name for module in iter_modules(stages.__path__)))


def check_stage(name: str) -> str:
    """Return the name if there is such a stage.

    Raises:
        EchoxError: there is none; the message names the nearest one, or all.
    """
    names = stage_names()
    if name in names:
        return name
    raise EchoxError(f"no training stage {name!r}; {nearest(name, names)}")


def stage_class(name: str) -> "type[Stage[Any, Any, Any]]":
    """Return the stage of that name.

    Raises:
        EchoxError: there is none, or its module does not define exactly one stage of its name.
    """
    module = import_module(f"{stages.__name__}.{check_stage(name)}")
    from echox.recipes.stage import Stage

    found: list[type[Stage[Any, Any, Any]]] = classes_of(module, Stage)
    if [stage.name for stage in found] != [name]:
        names = ", ".join(stage.name for stage in found) or "none"
        raise EchoxError(f"{module.__file__}: must define exactly one Stage, named {name!r}; it defines {names}")
    return found[0]


def text_columns() -> dict[str, tuple[str, ...]]:
    """Return, for each training table that a stage reads, the columns from which tokenizers are learnt."""
    columns: dict[str, tuple[str, ...]] = {}
    for stage in map(stage_class, stage_names()):
        columns[stage.table] = tuple(dict.fromkeys((*columns.get(stage.table, ()), *stage.text_columns)))
    return columns
