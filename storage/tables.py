"""Tables as Parquet files, byte for byte the same whenever the rows are."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import CorruptStore
from storage.schemas import ROW_GROUP_ROWS, check
from storage.store import Store

DEFAULT_ROW_GROUP_ROWS = 65_536
ZSTD_LEVEL = 3


def table_to_parquet(table: pa.Table, *, row_group_rows: int = DEFAULT_ROW_GROUP_ROWS) -> bytes:
    """A Parquet file of the table: zstd, dictionaries for strings.

    The bytes depend on rows, types and the version of pyarrow only: not on how the table is cut into chunks,
    nor on metadata of its schema.
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
    """A Parquet file of the corpus table `name`, after `check`, in row groups that fit its contents."""
    return table_to_parquet(check(table, name), row_group_rows=ROW_GROUP_ROWS.get(name, DEFAULT_ROW_GROUP_ROWS))


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A table of the store; with `columns`, only their bytes are fetched (audio stays where it is).

    Raises:
        NotFound: when there is no such file.
        CorruptStore: when it is no Parquet file or lacks a column.
    """
    if columns is None:
        return _read(pa.BufferReader(store.get(path)), store.url(path), None)
    return _read(pa.PythonFile(store.reader(path), mode="r"), store.url(path), columns)


def _read(source: pa.NativeFile, where: str, columns: Sequence[str] | None) -> pa.Table:
    try:
        file = pq.ParquetFile(source, pre_buffer=True)
        if columns is not None and (absent := set(columns) - set(file.schema_arrow.names)):
            raise CorruptStore(f"{where}: no column {', '.join(sorted(absent))}")
        return file.read(None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise CorruptStore(f"{where}: not the Parquet file that was written ({error})") from error


def _string_columns(schema: pa.Schema) -> list[str]:
    """Parquet paths of the string columns, those inside structs too."""
    paths: list[str] = []
    for field in schema:
        if pa.types.is_string(field.type):
            paths.append(field.name)
        elif pa.types.is_struct(field.type):
            paths += [f"{field.name}.{child.name}" for child in field.type if pa.types.is_string(child.type)]
    return paths
