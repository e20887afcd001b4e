"""The tables of a corpus version for a terminal of any width.

Print them on a console without markup: they contain names and paths, and markup would swallow `[brackets]`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.bar import Bar as RichBar
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.report.grids import (
    Bar,
    Column,
    Grid,
    compression_grid,
    corpus_grid,
    examples_grid,
    licences_grid,
    lineage_rows,
    rejects_grid,
    shared_audio_grid,
    word_lengths,
)
from flows.report.records import Facts
from unitlang.printing import shown

HISTOGRAM_WIDTH = 40
NAME_WIDTHS = (8, 12)
"""Least and most characters of a column of names; longer names are broken over several lines."""
GAP = 2
"""Spaces between columns."""


def tables(facts: Facts) -> Group:
    """Return the tables of `echox inspect`."""
    shown: list[TextTable | Table] = [
        TextTable(compression_grid(facts)),
        TextTable(corpus_grid(facts)),
        TextTable(licences_grid(facts)),
    ]
    rare = (shared_audio_grid(facts), rejects_grid(facts))
    shown += [TextTable(grid) for grid in rare if grid.rows]
    shown += [word_length_table(word_lengths(facts)), TextTable(examples_grid(facts))]
    return Group(*(Padding(table, (0, 0, 1, 0)) for table in shown), lineage_table(facts))


@dataclass(frozen=True)
class TextTable:
    """A grid as text. Columns that do not fit are shown below the others, with the first column repeated."""

    grid: Grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, part in enumerate(parted(self.grid, options.max_width)):
            if number:
                yield ""
            yield _table(part, None if number else self.grid.title)
        if self.grid.note:
            yield Text(shown(self.grid.note), style="italic")


def parted(grid: Grid, width: int) -> Iterator[Grid]:
    """Yield the grid in parts of at most `width` characters, each with the first column."""
    widths = [_width(grid, number) + GAP for number in range(len(grid.columns))]
    chosen = [0]
    for number in range(1, len(grid.columns)):
        needed = sum(widths[i] for i in (*chosen, number)) - 1  # one space less behind the last column
        if len(chosen) > 1 and needed > width:
            yield _columns_of(grid, chosen)
            chosen = [0]
        chosen.append(number)
    yield _columns_of(grid, chosen)


def _columns_of(grid: Grid, numbers: Sequence[int]) -> Grid:
    rows = [[row[number] for number in numbers] for row in grid.rows]
    return replace(grid, columns=[grid.columns[number] for number in numbers], rows=rows)


def _width(grid: Grid, number: int) -> int:
    column = grid.columns[number]
    cells = [*_head(column).split("\n"), *(shown(row[number]) for row in grid.rows)]
    longest = max(map(cell_len, cells))
    return min(max(longest, NAME_WIDTHS[0]), NAME_WIDTHS[1]) if column.folds else longest


def _head(column: Column) -> str:
    return column.name.replace(" ", "\n")


def _table(grid: Grid, title: str | None) -> Table:
    table = _empty(title)
    least, most = NAME_WIDTHS
    for column in grid.columns:
        if column.folds:
            table.add_column(column.name, overflow="fold", min_width=least, max_width=most)
        else:
            table.add_column(_head(column), justify="right" if column.number else "left", no_wrap=True)
    for row in grid.rows:
        table.add_row(*map(shown, row))
    return table


def _empty(title: str | None) -> Table:
    """An empty table that becomes as narrow as its contents."""
    return Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        min_width=len(title or "") + 1,
    )


def word_length_table(bars: Sequence[Bar]) -> Table:
    """Return the histogram of units per word."""
    table = _empty("Units per word")
    table.add_column("units", justify="right")
    table.add_column("share", justify="right")
    table.add_column("", max_width=HISTOGRAM_WIDTH)
    for bar in bars:
        table.add_row(bar.name, f"{bar.share:.1%}", RichBar(1, 0, bar.length))
    return table


def lineage_table(facts: Facts) -> Table:
    """Return the table of what the version was made from and with."""
    title = shown(f"Version {facts['version']} of {facts['store']}")
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column(overflow="fold", max_width=20)
    table.add_column(overflow="fold")
    for name, text in lineage_rows(facts):
        table.add_row(shown(name), shown(text))
    return table
