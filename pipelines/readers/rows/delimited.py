"""Rows of CSV and TSV files; a bad row does not affect the others."""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import chain, islice

from pipelines.readers.lines import Line

MAX_ROW_LINES = 64
"""Most lines of a quoted CSV field; a quote that stays open longer counts as a stray one."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        line: number of its first line.
        values: one string per column; empty if the row has a fault.
        fault: the reason why the row cannot be read, for a person; None for a good row.
    """

    line: int
    values: list[str]
    fault: str | None = None


def read_rows(lines: Iterator[Line], *, tab: bool) -> Iterator[Row]:
    """Yield the rows of a file without blank lines; every good row has as many values as the first.

    TSV has no quoting (Common Voice's texts contain bare quotes); CSV has the usual quoting, and a quoted field may
    contain line breaks. A stray quote costs only its own line: reading resumes after it.

    Args:
        lines: the lines of the file.
        tab: TSV instead of CSV.
    """
    width: int | None = None
    waiting: deque[Line] = deque()
    while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
        if line.fault is None and not line.text.strip():
            continue
        row = _tab_row(line) if tab else _comma_row(line, lines, waiting)
        if row.fault is None and width is not None and len(row.values) != width:
            row = Row(row.line, [], f"{len(row.values)} columns where the header has {width}")
        width = width or len(row.values) or None
        yield row


def _tab_row(line: Line) -> Row:
    return Row(line.number, [] if line.fault else line.text.split("\t"), line.fault)


def _comma_row(first: Line, lines: Iterator[Line], waiting: deque[Line]) -> Row:
    """Return the row that starts with `first`; lines that do not belong to it are put back into `waiting`."""
    if first.fault:
        return Row(first.number, [], first.fault)
    row = _parse(first.number, first.text)
    if row.fault is None or first.text.count('"') % 2 == 0:  # an odd number of quotes leaves one open
        return row
    text = first.text
    taken: list[Line] = []
    for line in islice(chain(_drain(waiting), lines), MAX_ROW_LINES):
        taken.append(line)
        text = f"{text}\n{line.text}"
        if line.fault:
            break
        if line.text.count('"') % 2:
            row = _parse(first.number, text)
            if row.fault is None:
                return row
            break
    waiting.extendleft(reversed(taken))
    return Row(first.number, [], "a quote is opened on this line and never properly closed")


def _drain(waiting: deque[Line]) -> Iterator[Line]:
    while waiting:
        yield waiting.popleft()


def _parse(number: int, text: str) -> Row:
    try:
        rows = list(csv.reader(StringIO(text, newline="\n"), strict=True))
    except csv.Error as error:
        return Row(number, [], f"not valid CSV: {error}")
    return Row(number, rows[0]) if len(rows) == 1 else Row(number, [], "not one row of CSV")
