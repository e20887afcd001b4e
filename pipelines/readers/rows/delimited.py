"""Rows of CSV and TSV files; a bad row does not affect the others."""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import chain, islice

from pipelines.readers.lines import Line

MAX_ROW_LINES = 64
"""Most lines of a quoted CSV field; a quote that stays open longer counts as a stray one."""
_FIELD = re.compile(r'"(?:[^"]|"")*+"|[^"\t\n]+')
_QUOTED_ROW = re.compile(rf"(?:{_FIELD.pattern})?(?:\t(?:{_FIELD.pattern})?)*+")


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


def read_rows(lines: Iterator[Line], delimiter: str, *, quoted: bool) -> Iterator[Row]:
    """Yield the rows of a file without blank lines; every good row has as many values as the first.

    With the usual quoting of CSV, a quoted field may contain line breaks, and a stray quote costs only its own line:
    reading resumes after it. Without it, quotes are characters of the text.

    Args:
        lines: the lines of the file.
        delimiter: the character between two fields.
        quoted: the file has the usual quoting.
    """
    width: int | None = None
    waiting: deque[Line] = deque()
    while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
        if line.fault is None and not line.text.strip():
            continue
        row = _quoted_row(line, lines, waiting, delimiter) if quoted else _bare_row(line, delimiter)
        if row.fault is None and width is not None and len(row.values) != width:
            row = Row(row.line, [], f"{len(row.values)} columns where the header has {width}")
        width = width or len(row.values) or None
        yield row


def is_quoted(lines: Iterable[Line]) -> bool:
    """Return whether a TSV has the quoting of CSV, as pandas writes it, instead of bare quotes, as in Common Voice.

    It has if every quote in it is balanced in that sense, and the header or a field that needs it is quoted: one with
    a quote, a tab or a line break inside. `"Yes."` alone is a sentence within quotes.
    """
    needed = False
    for number, text in _texts_with_quotes(lines):
        if not _QUOTED_ROW.fullmatch(text):
            return False
        needed = needed or number == 1 or any(map(_needs_quotes, _FIELD.findall(text)))
    return needed


def _texts_with_quotes(lines: Iterable[Line]) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that hold quotes, joined while one is open, but not beyond a whole row."""
    number, parts = 0, list[str]()
    for line in lines:
        if not parts and '"' not in line.text:
            continue
        number = number if parts else line.number
        parts.append(line.text)
        if sum(part.count('"') for part in parts) % 2 == 0 or len(parts) > MAX_ROW_LINES or line.fault:
            yield number, "\n".join(parts)
            parts = []
    if parts:
        yield number, "\n".join(parts)


def _needs_quotes(field: str) -> bool:
    inside = field[1:-1]
    return field.startswith('"') and any(mark in inside for mark in ('""', "\t", "\n"))


def _bare_row(line: Line, delimiter: str) -> Row:
    return Row(line.number, [] if line.fault else line.text.split(delimiter), line.fault)


def _quoted_row(first: Line, lines: Iterator[Line], waiting: deque[Line], delimiter: str) -> Row:
    """Return the row that starts with `first`; lines that do not belong to it are put back into `waiting`."""
    if first.fault:
        return Row(first.number, [], first.fault)
    row = _parse(first.number, first.text, delimiter)
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
            row = _parse(first.number, text, delimiter)
            if row.fault is None:
                return row
            break
    waiting.extendleft(reversed(taken))
    return Row(first.number, [], "a quote is opened on this line and never properly closed")


def _drain(waiting: deque[Line]) -> Iterator[Line]:
    while waiting:
        yield waiting.popleft()


def _parse(number: int, text: str, delimiter: str) -> Row:
    try:
        rows = list(csv.reader(StringIO(text, newline="\n"), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return Row(number, [], f"not valid CSV: {error}")
    return Row(number, rows[0]) if len(rows) == 1 else Row(number, [], "not one row of CSV")
