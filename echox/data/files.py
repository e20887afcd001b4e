"""Row groups of stored Parquet files, which training reads one at a time."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import CorruptStore
from storage.store import Store


def num_row_groups(store: Store, path: str) -> int:
    """Return the number of row groups of a file.

    Raises:
        CorruptStore: the file is not a Parquet file.
    """
    return _open(store, path).metadata.num_row_groups


def read_row_group(store: Store, path: str, group: int, columns: Sequence[str]) -> pa.Table:
    """Return some columns of one row group; from a bucket only their bytes are fetched.

    Args:
        store: the store of the corpus.
        path: path of the file in the store.
        group: number of the row group.
        columns: names of the columns.

    Raises:
        CorruptStore: the file is not a Parquet file.
    """
    return _open(store, path).read_row_group(group, list(columns), use_threads=False)


def _open(store: Store, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(pa.PythonFile(store.reader(path), mode="r"), pre_buffer=False)
    except pa.ArrowException as error:
        raise CorruptStore(f"{store.url(path)}: not the Parquet file that was written ({error})") from error
