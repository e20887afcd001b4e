"""Measure what the checksums of Parquet's pages cost when tables are read: with and without their check, in turns.

    python benchmarks/page_checksums.py [--rows 4000] [--repeats 7]

Tables of random values with the corpus's own schemas are written into a new folder, and read once to warm the disk's
cache. Training tables are read as the loader of the stages reads them, by row groups; tables of units and words as
`encode` and `shard` do, whole columns of a file; and a file without checksums of pages, which is checked as a whole by
the first read of a process. Times are CPU seconds of this process, the best of the repeats, so that a busy machine
changes them little.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from storage import tables
from storage.schemas import SCHEMAS
from storage.store import Store

AUDIO_BYTES = 60_000
"""Encoded audio of one row: seven seconds of FLAC."""
UNITS = 250
"""Units of one row."""
LOADED = ("s2t", "t2c", "echo")
READ_BY_STEPS = ("units", "unit_language")


def main() -> None:
    """Write the tables, read them in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    shown = Table("read", "MB", "with, CPU s", "without", "cost")
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder, create=True)
        for name in (*LOADED, *READ_BY_STEPS):
            data = tables.rows_to_parquet(name, rows(name, options.rows))
            path = f"data/{tables.checked_name(name, data)}"
            store.put(path, data)
            reads = by_row_groups if name in LOADED else whole_columns
            checked, unchecked = in_turns(lambda path=path, reads=reads: reads(store, path), options.repeats)
            cost = f"{100 * (checked / unchecked - 1):+.0f} %"
            shown.add_row(name, f"{len(data) / 1e6:.0f}", f"{checked:.3f}", f"{unchecked:.3f}", cost)
        shown.add_row(*old_file(store, options.rows))
    Console().print(shown)


def rows(name: str, count: int) -> pa.Table:
    """Random rows of a table."""
    rng = np.random.default_rng(0)
    schema = SCHEMAS[name]
    columns = {field.name: [value(field.type, rng) for _ in range(count)] for field in schema}
    return pa.table(columns, schema=schema)


def value(kind: Any, rng: np.random.Generator) -> Any:
    """A random value of a type."""
    if pa.types.is_struct(kind):
        return {field.name: value(field.type, rng) for field in kind}
    if pa.types.is_list(kind):
        return rng.integers(0, 1000, UNITS).tolist()
    if pa.types.is_string(kind):
        return f"text {rng.integers(1 << 30)}"
    if pa.types.is_fixed_size_binary(kind):
        return rng.bytes(kind.byte_width)
    return rng.bytes(AUDIO_BYTES) if pa.types.is_binary(kind) else int(rng.integers(1000))


def by_row_groups(store: Store, path: str) -> None:
    """Read a training table as the loader does."""
    for group in range(tables.num_row_groups(store, path)):
        tables.read_row_group(store, path, group, names(path)).to_pylist()


def whole_columns(store: Store, path: str) -> None:
    """Read a table as `shard` does."""
    tables.read_table(store, path, names(path)).to_pylist()


def names(path: str) -> list[str]:
    """Columns of a table."""
    return SCHEMAS[path.partition("/")[2].partition("-")[0]].names


def in_turns(read: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Best CPU seconds of reads with and without the check."""
    read()
    best = [float("inf"), float("inf")]
    opened = tables._parquet  # pyright: ignore[reportPrivateUsage]
    for _ in range(repeats):
        for number, function in enumerate((opened, without_check)):
            tables._parquet = function  # pyright: ignore[reportPrivateUsage]
            best[number] = min(best[number], cpu_seconds(read))
    tables._parquet = opened  # pyright: ignore[reportPrivateUsage]
    return best[0], best[1]


def without_check(source: pa.NativeFile) -> pq.ParquetFile:
    """Open a table without the check of its pages."""
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=False)


def old_file(store: Store, count: int) -> tuple[str, ...]:
    """The row of a file without checksums of pages: its first read in a process, and the others."""
    data = tables.rows_to_parquet("s2t", rows("s2t", count), page_checksums=False)
    path = f"data/s2t-{tables.checked_name('s2t', data).split('-')[1]}.parquet"
    store.put(path, data)
    Path(store.url(path)).read_bytes()
    first = cpu_seconds(lambda: by_row_groups(store, path))
    later = min(cpu_seconds(lambda: by_row_groups(store, path)) for _ in range(3))
    cost = f"{100 * (first / later - 1):+.0f} %, once"
    return "s2t of an older program", f"{len(data) / 1e6:.0f}", f"{first:.3f}", f"{later:.3f}", cost


def cpu_seconds(work: Callable[[], None]) -> float:
    """CPU seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
