"""Rows of training tables, read row group by row group."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from echox.data.contents import KEYS, keys_of
from echox.data.corpus import RowGroup
from echox.data.reading import Beside
from storage.errors import CorruptStore
from storage.store import Store
from storage.tables import read_row_group

LOADERS = 4
"""Row groups that a worker reads at a time; with audio they have tens of megabytes."""
BESIDE = "beside"
"""Key of a row under which the columns of another file are."""
Row = dict[str, Any]
NumberedRow = tuple[int, Row]
"""Number of a row in its row group, and the row."""
Wanted = Callable[[int, str, str | None], bool]
"""Whether a row is wanted, from its number in the row group, its example id and its split."""


def read_rows(
    store: Store, group: RowGroup, columns: Sequence[str], wanted: Wanted, beside: Beside | None = None
) -> list[NumberedRow]:
    """Read some columns of the rows of a row group that are wanted.

    Args:
        store: the store.
        group: the row group.
        columns: columns of its file.
        wanted: tells which rows are wanted.
        beside: columns of another file, which each row gets as one value, `BESIDE`.

    Raises:
        CorruptStore: a file is missing or damaged, or the other one has other rows.
        StorageError: the store does not answer or refuses.
    """
    table = read_row_group(store, group.path, group.number, [*dict.fromkeys((*KEYS, *columns))])
    keys = keys_of(table.select(KEYS).to_pydict())
    chosen = [number for number, key in enumerate(keys) if wanted(number, *key)]
    positions = pa.array(chosen, pa.int64())
    rows = table.select(columns).take(positions).to_pylist()
    if beside is not None:
        others = _others(store, group, beside, [name for name, _ in keys]).take(positions).to_pylist()
        rows = [row | {BESIDE: other} for row, other in zip(rows, others, strict=True)]
    return list(zip(chosen, rows, strict=True))


def _others(store: Store, group: RowGroup, beside: Beside, names: Sequence[str]) -> pa.Table:
    """The columns that another file has for all rows of a row group, whose ids are given."""
    path = beside.paths[group.path]
    table = read_row_group(store, path, group.number, [KEYS[0], *beside.columns])
    if table[KEYS[0]].to_pylist() != [*names]:
        raise CorruptStore(f"{store.url(path)}: its rows are not those of {store.url(group.path)}; write it again")
    return table.select(beside.columns)
