"""Costs that the benchmark of scale measures, and their tables."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FULL = 1_500_000
"""Utterances of 6,000 h, that costs are extrapolated to."""
STEEPEST = 1.05
"""Exponent of growth that no step of a driver may exceed."""
LEAST = {"cpu": 0.5, "requests": 20}
"""Least CPU seconds and requests of a step at the larger size of which growth says anything."""


@dataclass
class Cost:
    """Cost of a step for its driver, and of its work units."""

    cpu: float = 0.0
    wall: float = 0.0
    mb: float = 0.0
    work_cpu: float = 0.0
    requests: int = 0
    alone: int = 0
    dear: int = 0
    work_requests: int = 0
    work_dear: int = 0
    bytes: int = 0


@dataclass
class Run:
    """Costs of a build by step, and the seconds until its first work unit began."""

    first_work: float | None
    steps: dict[str, Cost] = field(default_factory=dict[str, Cost])

    def total(self, name: str) -> float:
        """Sum over the steps."""
        return sum(getattr(cost, name) for step, cost in self.steps.items() if step not in ("start", "end"))


Runs = dict[int, dict[str, Run]]
"""Runs by the number of utterances and what was done."""


def read_runs(path: Path) -> dict[str, Runs]:
    """Measurements that `--save` wrote, by the place of the store."""
    values = json.loads(path.read_text())
    return {
        where: {
            int(size): {
                what: Run(run["first_work"], {step: Cost(**cost) for step, cost in run["steps"].items()})
                for what, run in runs.items()
            }
            for size, runs in sizes.items()
        }
        for where, sizes in values.items()
    }


def line_to(runs: Runs, what: str, name: str, size: int = FULL) -> float:
    """A cost at another size: on the line through the two largest sizes, and no less than at the largest one."""
    (one, few), (two, many) = [(size, runs[size][what].total(name)) for size in sorted(runs)[-2:]]
    return max(many, many + (many - few) / (two - one) * (size - two))


COLUMNS = ("cpu", "work_cpu", "requests", "alone", "work_requests", "bytes", "wall", "mb")
HEADS = ("CPU s", "CPU s of work", "requests", "alone", "requests of work", "MB", "wall s", "peak MB")


def shown(where: str, found: Runs) -> Iterator[str]:
    """Yield the lines of a table of Markdown, for one kind of store."""
    for what in ("first build", "night", "verify"):
        yield f"\n**{what}, {where}**\n"
        yield from _table(found, what)
        for size in sorted(found):
            run = found[size][what]
            begins = "" if run.first_work is None else f"; the first work unit began after {run.first_work:.0f} s"
            requests = f"{run.total('requests'):,.0f} requests of the driver, {run.total('alone'):,.0f} alone"
            yield f"\n{size:,}: {requests}{begins}"
        if len(found) > 1 and where == "bucket":
            yield f"\nExtrapolated to {FULL:,}: {line_to(found, what, 'alone'):,.0f} alone"
    if len(found) > 1:
        steep = list(_steep(found))
        yield f"\nSteps whose exponent of CPU seconds or requests is above {STEEPEST}: {', '.join(steep) or 'none'}"


def _table(found: Runs, what: str) -> Iterator[str]:
    sizes = sorted(found)
    yield "| step | utterances | " + " | ".join(HEADS) + " |"
    yield "|---" * (2 + len(HEADS)) + "|"
    for step in (name for name in found[sizes[0]][what].steps if name not in ("start", "end")):
        costs = [found[size][what].steps.get(step, Cost()) for size in sizes]
        for size, cost in zip(sizes, costs, strict=True):
            yield f"| {step} | {size:,} | " + " | ".join(_number(value) for value in _values(cost)) + " |"
        if len(sizes) > 1:
            pairs = zip(*map(_values, costs[-2:]), strict=True)
            grown = (exponent(before, after, sizes[-2:]) for before, after in pairs)
            told = " | ".join("" if one is None else f"{one:.2f}" for one in grown)
            yield f"| | *exponent* | {told} |"


def _steep(found: Runs) -> Iterator[str]:
    """Yield the steps whose costs grow faster than the corpus."""
    few, many = sorted(found)[-2:]
    for what, run in found[many].items():
        for step, cost in run.steps.items():
            before = found[few][what].steps.get(step, Cost())
            for name, least in LEAST.items():
                grown = exponent(getattr(before, name), getattr(cost, name), (few, many))
                if grown is not None and grown > STEEPEST and getattr(cost, name) >= least:
                    yield f"{step} of {what} ({name}: {grown:.2f})"


def _values(cost: Cost) -> list[float]:
    return [getattr(cost, name) / (1e6 if name == "bytes" else 1) for name in COLUMNS]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"


def exponent(before: float, after: float, sizes: Sequence[int]) -> float | None:
    """Exponent of growth between two sizes; None if there is nothing to compare."""
    if before <= 0 or after <= 0:
        return None
    return math.log(after / before) / math.log(sizes[1] / sizes[0])
