"""The plan of a build, as tables for a terminal."""

from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.text import Text

from flows.report.grids import Column, Grid
from flows.report.terminal import TextTable
from pipelines.outlook.outlook import Outlook
from pipelines.outlook.prediction import RayRequest, StepOutlook
from unitlang.printing import shown

ENTRIES = "mended: same audio, other facts; healed: was a reject and is tried again; rejected: those known so far"
STEPS = "hours: audio at most; core hours and size are rough, and what is fitted is not counted"


def outlook_tables(found: Outlook) -> Group:
    """Return the tables of `echox build --dry-run`."""
    parts: list[RenderableType] = [TextTable(_entries_grid(found))]
    if found.steps:
        parts.append(TextTable(_steps_grid(found)))
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts), Text("\n".join(map(shown, _lines(found)))))


def _entries_grid(found: Outlook) -> Grid:
    counts = asdict(found.entries)
    return Grid("Entries", [*map(Column, counts)], [[f"{count:,}" for count in counts.values()]], ENTRIES)


def _steps_grid(found: Outlook) -> Grid:
    names = ("work units", "hours", "core hours", "writes about")
    columns = (Column("step", number=False), *map(Column, names), Column("runs", number=False))
    rows = [
        [
            step.step,
            f"{step.work_units:,}",
            f"{step.hours:,.3f}",
            f"{step.core_hours:,.3f}",
            decimal(step.bytes),
            _where(step),
        ]
        for step in found.steps
    ]
    return Grid("Work", columns, rows, STEPS)


def _where(step: StepOutlook) -> str:
    return "in process" if step.ray is None else _described(step.ray)


def _described(ray: RayRequest) -> str:
    """`on Ray: 8 workers of 1 CPU, 4 GiB`."""
    workers = f"{ray.workers:,} workers" if ray.workers else "as many workers as there is room for"
    needs = [f"{ray.cpus:g} CPU"]
    if ray.gpus is None:
        needs.append("a GPU if there are any")
    elif ray.gpus:
        needs.append(f"{ray.gpus:g} GPU")
    if ray.memory_gib is not None:
        needs.append(f"{ray.memory_gib:g} GiB")
    return f"on Ray: {workers} of {', '.join(needs)}"


def _lines(found: Outlook) -> Iterator[str]:
    if found.estimated:
        yield f"the lengths of {found.estimated:,} entries are estimated by the mean of their dataset"
    if found.fits:
        yield f"fits anew: {', '.join(found.fits)}"
    for work in found.earlier:
        yield (
            f"{work.step}: {work.work_units:,} work units ({work.hours:,.3f} h) stay as an earlier revision made them, "
            f"this program has revision {work.revision}; --recompute {work.step} makes them again, in about "
            f"{work.core_hours:,.3f} core hours"
        )
    if found.known_rejects > found.max_rejects:
        yield (
            f"max_reject_ratio: {found.known_rejects:,} rejects are known so far, {found.max_rejects:,} are allowed; "
            "the build would commit nothing"
        )
    last = "no version yet" if found.version is None else f"version {found.version} is the last one"
    does = "a build has nothing to do" if found.up_to_date else "a build would commit the next one"
    yield f"{found.store}: {last}; {does}. Nothing was written."
