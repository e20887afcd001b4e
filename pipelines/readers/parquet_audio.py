"""Audio inside Parquet files: URIs of single rows, and their bytes.

A URI is `<file>#row=<n>&column=<name>`: row from 0 in the file; `%`, `#` and white space of file and column are
percent-encoded.
"""
# pyarrow has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from threading import Lock
from typing import Any, Literal, cast
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.readers.places import Place
from unitlang.audio.remote import remote
from unitlang.errors import AudioError

MAX_CACHED_BYTES = 64 << 20
"""Audio held at once: a row group, or a part of a larger one.

Reading also needs a few times the largest page (pyarrow writes pages of up to 1024 rows, of any size).
"""

PARTS = 2
"""Parts of a row group that work units do not split."""
REMEMBERED = 4096
"""Files of which the row groups are remembered."""

_URI = re.compile(r"(?P<file>[^#]+)#row=(?P<row>\d+)&column=(?P<column>[^#&]+)", re.DOTALL)
_KEEP = "/:!$'()*+,;=@~[]{}|^`\"<>\\"


def parquet_uri(file: str, row: int, column: str) -> str:
    """Return the URI of one row's audio."""
    return f"{quote(file, safe=_KEEP + '?&')}#row={row}&column={quote(column, safe=_KEEP)}"


def is_parquet_uri(uri: str) -> bool:
    """Return whether a URI names a row of a Parquet file instead of an audio file."""
    return _URI.fullmatch(uri) is not None


def parquet_file(uri: str) -> str | None:
    """Return path or URL of the Parquet file that a URI names a row of, or None if it names another file."""
    match = _URI.fullmatch(uri)
    return unquote(match["file"]) if match else None


def fetch(uri: str) -> bytes:
    """Return the encoded audio of a URI from `parquet_uri`.

    A process keeps the last row group (or `MAX_CACHED_BYTES` of it) in memory: fetch rows in file order.

    Raises:
        AudioError: `missing` if there is no such file, row, column or audio in it; `corrupt` if Parquet fails.
        Unreachable: a server failed; the file itself may be fine, and so it may if
        OSError: the disk failed, or too many files are open.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise AudioError("missing", "not a URI of a Parquet row: <file>#row=<n>&column=<name>", uri)
    try:
        place = Place.of(unquote(match["file"]))
    except UserError as error:
        raise AudioError("missing", str(error), uri) from error
    with _lock, remote(place.uri):
        try:
            audio = _cursor(place, unquote(match["column"])).value(int(match["row"]))
        except (UserError, LookupError, pa.ArrowException, OSError) as error:
            _cursors.clear()
            reason = parquet_fault(error, place)
            if reason is None:
                raise
            raise AudioError(reason, f"Parquet cannot read the row: {error}", uri) from error
    if audio is None:
        raise AudioError("missing", "the row holds no audio", uri)
    return audio


def parquet_fault(error: Exception, place: Place) -> Literal["missing", "corrupt"] | None:
    """Classify an error of `open_parquet` or of reading as a fault of the file; None if the disk or network failed."""
    absent = (UserError, LookupError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
    if isinstance(error, absent) or (isinstance(error, PermissionError) and place.local):
        return "missing"
    # Arrow reports damaged pages as a plain OSError; the system's have a number or a subclass.
    damaged = type(error) is OSError and error.errno is None
    return "corrupt" if damaged or isinstance(error, pa.ArrowException) else None


class _Cursor:
    """Values of one binary column, read forward in slices of bounded size."""

    def __init__(self, place: Place, column: str) -> None:
        self.file = open_parquet(place)
        self.leaf, self.nested = audio_leaf(self.file.schema_arrow, column)
        self.group = -1
        self.first_row = 0  # of the slice
        self.slice: Any = pa.array([], pa.binary())
        self.slices: Iterator[Any] = iter(())

    def value(self, row: int) -> bytes | None:
        """Return the bytes of a row, counted from the start of the file.

        Raises:
            IndexError: the file has no such row.
        """
        group, group_row = self._find(row)
        if group != self.group or row < self.first_row:
            self.group, self.first_row = group, group_row
            self.slice = pa.array([], pa.binary())
            self.slices = self._open(group)
        while row >= self.first_row + len(self.slice):
            self.first_row += len(self.slice)
            self.slice = None  # frees the slice before the next one is read
            self.slice = next(self.slices)
        return cast("bytes | None", self.slice[row - self.first_row].as_py())

    def _find(self, row: int) -> tuple[int, int]:
        """Return the row group of a row and that group's first row."""
        first = 0
        for group in range(self.file.metadata.num_row_groups):
            num_rows = self.file.metadata.row_group(group).num_rows
            if row < first + num_rows:
                return group, first
            first += num_rows
        raise IndexError(f"the file has {first} rows, there is no row {row}")

    def _open(self, group: int) -> Iterator[Any]:
        metadata = self.file.metadata.row_group(group)
        columns = (metadata.column(i) for i in range(metadata.num_columns))
        num_bytes = sum(c.total_uncompressed_size for c in columns if c.path_in_schema == self.leaf)
        part = -(-metadata.num_rows // PARTS)  # who needs one part alone reads nothing behind it
        rows = max(1, min(part, metadata.num_rows * MAX_CACHED_BYTES // max(num_bytes, MAX_CACHED_BYTES)))
        for batch in self.file.iter_batches(rows, row_groups=[group], columns=[self.leaf]):
            column = batch.column(0)
            yield column.field(0) if self.nested else column


def open_parquet(place: Place) -> Any:
    """Open the Parquet file at a place; its pages are read as needed.

    Raises:
        FileNotFoundError, pyarrow.ArrowException, OSError: there is no readable Parquet file.
        AbsentFileError: the place is a folder, pipe or device.
    """
    place.check_regular()
    source = place.path if place.local else place.raw()
    file = pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False)  # it would hold whole row groups
    sizes = (file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups))
    _note_first_rows(place.uri, [*accumulate(sizes, initial=0)])
    return file


RowGroupPart = tuple[str, int, int]
"""A file, one of its row groups, and which half of it."""


def row_group_part(uri: str) -> RowGroupPart | None:
    """The half of a row group that holds a row.

    Who reads rows from the middle of a row group on reads those before them, too, and all of it if it has one page, as
    row groups of up to 1024 rows mostly have. So a row group that two read, each a half, is read twice at most.

    Args:
        uri: as of `parquet_uri`; None is returned for others, and if there is no such row.

    Raises:
        Unreachable: a server failed.
    """
    file = parquet_file(uri)
    if file is None:
        return None
    try:
        place = Place.of(file)
        if place.uri not in _first_rows:
            with remote(place.uri):
                open_parquet(place)
        firsts = _first_rows[place.uri]
        row = int(uri.rpartition("#row=")[2].partition("&")[0])
    except (UserError, LookupError, pa.ArrowException, OSError):  # to be reported where the row is read
        return None
    group = bisect_right(firsts, row) - 1
    if group + 1 >= len(firsts):
        return None
    return file, group, (row - firsts[group]) * PARTS // (firsts[group + 1] - firsts[group])


def _note_first_rows(uri: str, firsts: list[int]) -> None:
    """Remember where the row groups of a file begin, and where the last one ends."""
    if len(_first_rows) >= REMEMBERED:
        _first_rows.pop(next(iter(_first_rows)))
    _first_rows[uri] = firsts


def audio_leaf(schema: Any, column: str) -> tuple[str, bool]:
    """Return the Parquet path of a column's encoded audio, and whether it lies inside a struct.

    Raises:
        KeyError: the column holds no encoded audio.
    """
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{column}.bytes", True
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column, False
    raise KeyError(f"column {column!r} of type {kind} holds no encoded audio")


_lock = Lock()
_first_rows: dict[str, list[int]] = {}
_cursors: dict[tuple[str, str, object], _Cursor] = {}


def _cursor(place: Place, column: str) -> _Cursor:
    """Return the cursor of a column: the current one, or a new one that replaces it."""
    key = (place.uri, column, place.version())
    if key not in _cursors:
        _cursors.clear()
        _cursors[key] = _Cursor(place, column)
    return _cursors[key]
