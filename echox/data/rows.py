"""Rows of training tables, read row group by row group."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from echox.data.contents import KEYS, keys_of
from echox.data.corpus import RowGroup
from storage.store import Store
from storage.tables import read_row_group

LOADERS = 4
"""Row groups that a worker reads at a time; with audio they have tens of megabytes."""
Row = dict[str, Any]
NumberedRow = tuple[int, Row]
"""Number of a row in its row group, and the row."""
Wanted = Callable[[int, str, str | None], bool]
"""Whether a row is wanted, from its number in the row group, its example id and its split."""


def read_rows(store: Store, group: RowGroup, columns: Sequence[str], wanted: Wanted) -> list[NumberedRow]:
    """Read some columns of the rows of a row group that are wanted.

    Raises:
        CorruptStore: its file is missing or damaged.
        StorageError: the store does not answer or refuses.
    """
    table = read_row_group(store, group.path, group.number, [*dict.fromkeys((*KEYS, *columns))])
    keys = keys_of(table.select(KEYS).to_pydict())
    chosen = [number for number, key in enumerate(keys) if wanted(number, *key)]
    return list(zip(chosen, table.select(columns).take(pa.array(chosen, pa.int64())).to_pylist(), strict=True))
