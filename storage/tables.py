"""Tables as Parquet files; equal rows give equal bytes."""

import io
import os
from bisect import bisect_right
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import CorruptStore
from storage.ranges import RangeReader
from storage.schemas import ROW_GROUP_ROWS, check
from storage.store import Store

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

DEFAULT_ROW_GROUP_ROWS = 65_536
ZSTD_LEVEL = 3

HOLE_BYTES = 8192
"""Largest gap in bytes between two ranges of one request: a second request costs more. Arrow's default too."""


def table_to_parquet(table: pa.Table, *, row_group_rows: int = DEFAULT_ROW_GROUP_ROWS) -> bytes:
    """Serialise a table as a Parquet file: zstd, dictionaries for strings.

    The bytes depend only on rows, types and the version of pyarrow, not on chunks or on metadata of the schema.
    """
    table = table.replace_schema_metadata(None).combine_chunks()
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=row_group_rows,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=_string_columns(table.schema),  # pyright: ignore[reportArgumentType]
    )
    return sink.getvalue().to_pybytes()


def rows_to_parquet(name: str, table: pa.Table) -> bytes:
    """Serialise a table of the corpus as a Parquet file, after `check`, in row groups that fit its contents.

    Raises:
        StorageError: as `check`.
    """
    return table_to_parquet(check(table, name), row_group_rows=ROW_GROUP_ROWS.get(name, DEFAULT_ROW_GROUP_ROWS))


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table of the store; with `columns`, fetch only their bytes (the audio stays in the store).

    Raises:
        NotFound: there is no such file.
        CorruptStore: it is not a Parquet file or lacks a column.
    """
    with _told(store.url(path)):
        # Read in this thread only: if one of Arrow's buffering or decoding threads frees Python's bytes while the
        # process ends, the process aborts.
        if columns is None:
            return pq.ParquetFile(pa.BufferReader(store.get(path)), pre_buffer=False).read(use_threads=False)
        source = _Gathered(store.reader(path))
        file = pq.ParquetFile(pa.PythonFile(source, mode="r"), pre_buffer=False)
        if absent := set(columns) - set(file.schema_arrow.names):
            raise CorruptStore(f"{store.url(path)}: no column {', '.join(sorted(absent))}")
        source.gather(_ranges(file.metadata, columns))
        return file.read(list(columns), use_threads=False)


@contextmanager
def _told(where: str) -> Generator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CorruptStore(f"{where}: not the Parquet file that was written ({error})") from error


class _Gathered(io.RawIOBase):
    """A stored file whose ranges can be fetched in advance, in few requests."""

    def __init__(self, file: RangeReader) -> None:
        self._file = file
        self._parts: list[tuple[int, memoryview]] = []

    def gather(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges of bytes, each by its start and end, in the order of the file."""
        joined: list[tuple[int, int]] = []
        for start, end in ranges:
            if joined and start - joined[-1][1] <= HOLE_BYTES:
                start, _ = joined.pop()
            joined.append((start, end))
        for start, end in joined:
            self._file.seek(start)
            self._parts.append((start, memoryview(self._file.read(end - start) or b"")))

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a byte position."""
        return self._file.seek(offset, whence)

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read the next bytes, from memory if all of them were fetched."""
        view, position = memoryview(buffer).cast("B"), self.tell()
        index = bisect_right(self._parts, position, key=itemgetter(0)) - 1
        if index >= 0:
            start, part = self._parts[index]
            found = part[position - start :][: len(view)]
            if len(found) == len(view):
                view[:] = found
                return self.seek(position + len(view)) - position
        return self._file.readinto(view)


def _ranges(metadata: pq.FileMetaData, columns: Collection[str]) -> Iterator[tuple[int, int]]:
    """Yield start and end of the bytes of some columns, in the order of the file."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            if chunk.path_in_schema.partition(".")[0] in columns:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                yield start, start + chunk.total_compressed_size


def _string_columns(schema: pa.Schema) -> list[str]:
    """Parquet paths of the string columns, including those inside structs."""
    paths: list[str] = []
    for field in schema:
        if pa.types.is_string(field.type):
            paths.append(field.name)
        elif pa.types.is_struct(field.type):
            paths += [f"{field.name}.{child.name}" for child in field.type if pa.types.is_string(child.type)]
    return paths
