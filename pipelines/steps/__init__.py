"""Steps of a build: each module of this package that defines a `BuildStep` is registered automatically."""

from functools import cache
from graphlib import TopologicalSorter
from typing import Any

from pipelines.engine.build_step import BuildStep, TableStep
from pipelines.engine.step import Step
from unitlang.registry import by_name, classes_in


@cache
def steps() -> dict[str, type[BuildStep]]:
    """All steps by name, each after the steps that it reads from; independent steps in alphabetical order.

    Raises:
        TypeError: a step names an unknown step in `after`, or two steps have the same name.
    """
    found = by_name(classes_in(__name__, __path__, BuildStep), lambda step: step.name)
    for step in found.values():
        if unknown := set(step.after) - found.keys():
            raise TypeError(f"step {step.name} comes after {', '.join(sorted(unknown))}, which no module defines")
    order = TopologicalSorter({name: sorted(found[name].after) for name in sorted(found)})
    return {name: found[name] for name in order.static_order()}


def step_names() -> tuple[str, ...]:
    """Names of all steps in the order of a build."""
    return tuple(steps())


def table_steps() -> dict[str, type[TableStep[Any]]]:
    """The steps that write tables, by name, in the order of a build."""
    return {name: step for name, step in steps().items() if issubclass(step, TableStep)}


@cache
def computations() -> dict[str, type[Step[Any]]]:
    """All computations that run work units, by name: steps that write tables, and the sampling of features.

    Raises:
        TypeError: two computations have the same name.
    """
    return by_name(classes_in(__name__, __path__, Step), lambda step: step.name)


__all__ = ["computations", "step_names", "steps", "table_steps"]
