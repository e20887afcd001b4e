"""Tables as Parquet files; equal rows give equal bytes, and every read is checked against what was written.

The name of a file ends with `-<contents>-<end>.parquet`: the first 8 hexadecimal digits of the SHA-256 of the whole
file, and of its end (the footer, which says where the columns lie and of which type they are). A whole read is checked
against the first, a read of parts against the second and the checksums of Parquet's pages. Files of earlier versions
have neither checksums of pages nor the second number: the first read of parts checks the whole file.
"""

import re
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import CorruptStore, NotFound, damaged, remedy
from storage.ranges import BLOCK_BYTES, TAIL_BYTES, Gathered
from storage.schemas import ROW_GROUP_ROWS, check
from storage.store import Store

DEFAULT_ROW_GROUP_ROWS = 65_536
ZSTD_LEVEL = 3

LENGTH_BYTES = 8
"""Length of the footer and the mark PAR1, at the very end of a Parquet file."""
DIGITS = 8
_NAME = re.compile(r".*?-(?P<contents>[0-9a-f]{8})(-(?P<end>[0-9a-f]{8}))?\.parquet")


def table_to_parquet(
    table: pa.Table, *, row_group_rows: int = DEFAULT_ROW_GROUP_ROWS, page_checksums: bool = True
) -> bytes:
    """Serialise a table as a Parquet file: zstd, dictionaries for strings.

    The bytes depend only on rows, types and the version of pyarrow, not on chunks or on metadata of the schema.

    Args:
        table: the rows.
        row_group_rows: rows of a row group.
        page_checksums: whether pages have checksums; those of earlier versions of this program have none.
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
        write_page_checksum=page_checksums,
    )
    return sink.getvalue().to_pybytes()


def rows_to_parquet(name: str, table: pa.Table, *, page_checksums: bool = True) -> bytes:
    """Serialise a table of the corpus as a Parquet file, after `check`, in row groups that fit its contents.

    Args:
        name: a key of `SCHEMAS`.
        table: the rows.
        page_checksums: as for `table_to_parquet`.

    Raises:
        StorageError: as `check`.
    """
    rows = ROW_GROUP_ROWS.get(name, DEFAULT_ROW_GROUP_ROWS)
    return table_to_parquet(check(table, name), row_group_rows=rows, page_checksums=page_checksums)


def checked_name(stem: str, data: bytes) -> str:
    """File name of a Parquet file: `stem`, then the checksums of its contents and of its end."""
    return f"{stem}-{_digits(data)}-{_digits(data[-_end_bytes(data) :])}.parquet"


def read_table(store: Store, path: str, columns: Sequence[str] | None = None, optional: Sequence[str] = ()) -> pa.Table:
    """Read a table of the store; with `columns`, fetch only their bytes (the audio stays in the store).

    Args:
        store: the store.
        path: path of the table in the store.
        columns: names of columns, or of fields of a struct (`audio.uri`); None = all.
        optional: more columns, of which a file may lack some.

    Raises:
        NotFound: there is no such file.
        CorruptStore: it is not the file that was written, or lacks a column.
    """
    with _told(store, path):
        # Read in this thread only: if one of Arrow's buffering or decoding threads frees Python's bytes while the
        # process ends, the process aborts.
        if columns is None:
            data = store.get(path)
            _compare(store, path, "contents", _digits(data))
            return _parquet(pa.BufferReader(data)).read(use_threads=False)
        source, file = _open(store, path)
        there = [name for name in optional if name in file.schema_arrow.names]
        wanted = [*_existing(store, path, file, columns), *there]
        source.gather(_ranges(file.metadata, range(file.num_row_groups), wanted))
        return file.read(wanted, use_threads=False)


def is_as_named(store: Store, path: str) -> bool:
    """Whether a whole file has the checksum in its name; true if the name has none.

    Raises:
        NotFound: there is no such file.
    """
    name = _NAME.fullmatch(path)
    return name is None or _digits(store.get(path)) == name["contents"]


def num_row_groups(store: Store, path: str) -> int:
    """Number of row groups of a table.

    Raises:
        NotFound: there is no such file.
        CorruptStore: it is not the file that was written.
    """
    with _told(store, path):
        return _open(store, path)[1].num_row_groups


def read_row_group(store: Store, path: str, group: int, columns: Sequence[str]) -> pa.Table:
    """Read some columns of one row group; only their bytes are fetched.

    Args:
        store: the store.
        path: path of the table in the store.
        group: number of the row group.
        columns: names of the columns.

    Raises:
        NotFound: there is no such file.
        CorruptStore: it is not the file that was written, or lacks a column.
    """
    (table,) = _read_groups(store, path, [group], columns)
    return table


def read_row_groups(store: Store, path: str, columns: Sequence[str]) -> list[pa.Table]:
    """Read some columns of every row group of a table, one table for each; only their bytes are fetched.

    Args:
        store: the store.
        path: path of the table in the store.
        columns: names of the columns.

    Raises:
        NotFound: there is no such file.
        CorruptStore: it is not the file that was written, or lacks a column.
    """
    return _read_groups(store, path, None, columns)


def _read_groups(store: Store, path: str, groups: Sequence[int] | None, columns: Sequence[str]) -> list[pa.Table]:
    """Read some columns of some row groups; None = of all."""
    with _told(store, path):
        source, file = _open(store, path)
        chosen = range(file.num_row_groups) if groups is None else groups
        source.gather(_ranges(file.metadata, chosen, _existing(store, path, file, columns)))
        return [file.read_row_group(group, list(columns), use_threads=False) for group in chosen]


@contextmanager
def _told(store: Store, path: str) -> Generator[None]:
    try:
        yield
    except NotFound as error:
        raise NotFound(f"{error}; {remedy(store.uri)}") from error
    except (pa.ArrowException, OSError) as error:
        fault = " ".join(str(error).split())
        raise damaged(store.url(path), f"not the Parquet file that was written ({fault})", store.uri) from error


def _parquet(source: pa.NativeFile) -> pq.ParquetFile:
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)


def _open(store: Store, path: str) -> tuple[Gathered, pq.ParquetFile]:
    """Open a table for reading in parts, after a check of its end, or of the whole file if its pages have no checksums.

    The caller fetches ranges in advance with the first value, and reads with the second.
    """
    source = Gathered(store.reader(path))
    end = _fetch_end(source)
    name = _NAME.fullmatch(path)
    if name and name["end"]:
        _compare(store, path, "end", _digits(end))
    elif name:
        _check_once(store, path, source)
    return source, _parquet(pa.PythonFile(source, mode="r"))


def _fetch_end(source: Gathered) -> bytes:
    """Fetch the footer of a Parquet file, its length and the last mark, in one request if it is small."""
    size = source.size
    source.gather([(max(0, size - TAIL_BYTES), size)])
    start = max(0, size - _end_bytes(source.read_at(max(0, size - LENGTH_BYTES), LENGTH_BYTES)))
    source.gather([(start, size)])
    return source.read_at(start, size - start)


def _end_bytes(data: bytes) -> int:
    """Length of the end of a Parquet file, from its last bytes."""
    return LENGTH_BYTES + int.from_bytes(data[-LENGTH_BYTES:-4], "little")


_whole: set[str] = set()
"""URLs of the files without checksums of pages that this process has checked as a whole."""


def _check_once(store: Store, path: str, source: Gathered) -> None:
    """Check a whole file, in bounded memory, unless this process did already."""
    url = store.url(path)
    if url in _whole:
        return
    digest = sha256()
    for start in range(0, source.size, BLOCK_BYTES):
        digest.update(source.read_at(start, min(BLOCK_BYTES, source.size - start)))
    _compare(store, path, "contents", digest.hexdigest()[:DIGITS])
    _whole.add(url)


def _compare(store: Store, path: str, part: str, found: str) -> None:
    """Compare a checksum with the one in the name of the file; names of other forms have none."""
    name = _NAME.fullmatch(path)
    if name and name[part] != found:
        fault = f"not the Parquet file that was written (SHA-256 of the {part} begins with {found})"
        raise damaged(store.url(path), fault, store.uri)


def _digits(data: bytes) -> str:
    return sha256(data).hexdigest()[:DIGITS]


def _existing(store: Store, path: str, file: pq.ParquetFile, columns: Sequence[str]) -> Sequence[str]:
    if absent := {name.partition(".")[0] for name in columns} - set(file.schema_arrow.names):
        raise CorruptStore(f"{store.url(path)}: no column {', '.join(sorted(absent))}")
    return columns


def _ranges(metadata: pq.FileMetaData, groups: Iterable[int], columns: Collection[str]) -> Iterator[tuple[int, int]]:
    """Yield start and end of the bytes of some columns of some row groups, in the order of the file."""
    beginnings = tuple(f"{name}." for name in columns)
    for group in map(metadata.row_group, groups):
        for chunk in map(group.column, range(group.num_columns)):
            if f"{chunk.path_in_schema}.".startswith(beginnings):
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
