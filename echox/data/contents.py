"""Facts that training must know of the files of a table before it reads them: their row groups, and their rows by use.

A receipt of `shard` says it, so that a start of training reads no file. Receipts of earlier programs do not: then the
ids and splits of the file are read.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from storage.receipts import DataFile
from storage.schemas import ROW_GROUP_ROWS
from storage.store import Store
from storage.tables import DEFAULT_ROW_GROUP_ROWS, read_row_groups

TRAIN_SPLITS = frozenset({None, "train"})
VALID_SPLITS = frozenset({"valid", "validation", "dev"})
KEYS = ("example_id", "split")
"""Columns that decide what a row is used for."""
Key = tuple[str, str | None]
"""Example id and split of a row."""


class Counts(NamedTuple):
    """Rows of a row group: all, those for training (of which some may be held out), those marked for validation."""

    rows: int
    train: int
    valid: int


@dataclass(frozen=True)
class Contents:
    """Facts that training must know of a file.

    Attributes:
        groups: its row groups, in order.
        lowest: lowest hash of the ids of its rows for training; None if there are none.
    """

    groups: tuple[Counts, ...]
    lowest: float | None


_CONTENTS = TypeAdapter(Contents)


def contents_of(groups: Iterable[Sequence[Key]]) -> Contents:
    """The contents of a file, from the keys of the rows of each row group."""
    counts: list[Counts] = []
    hashes: list[float] = []
    for keys in groups:
        train = [name for name, split in keys if split in TRAIN_SPLITS]
        hashes += map(hashed, train)
        counts.append(Counts(len(keys), len(train), sum(split in VALID_SPLITS for _, split in keys)))
    return Contents(tuple(counts), min(hashes, default=None))


def contents_to_be_written(table: str, keys: Iterable[Key]) -> dict[str, Any]:
    """The contents of a file that is going to be written, as JSON values for its receipt."""
    rows = ROW_GROUP_ROWS.get(table, DEFAULT_ROW_GROUP_ROWS)
    return _CONTENTS.dump_python(contents_of(_cut(iter(keys), rows)), mode="json")


def stated_contents(stats: Mapping[str, Any], file: DataFile) -> Contents | None:
    """The contents of a file as the statistics of its receipt say; None if they do not, or not of this file."""
    try:
        contents = _CONTENTS.validate_python(stats["contents"][file.table])
    except (KeyError, TypeError, ValidationError):
        return None
    return contents if sum(group.rows for group in contents.groups) == file.rows else None


def read_contents(store: Store, path: str) -> Contents:
    """The contents of a file, from its ids and splits.

    Raises:
        NotFound: there is no such file.
        CorruptStore: it is not the file that was written.
    """
    tables = read_row_groups(store, path, KEYS)
    return contents_of([keys_of(table.to_pydict()) for table in tables])


def keys_of(columns: Mapping[str, Sequence[Any]]) -> list[Key]:
    """The keys of rows, from their columns."""
    return list(zip(*(columns[name] for name in KEYS), strict=True))


def hashed(example_id: str) -> float:
    """Return a number in 0..1 that depends on the id alone."""
    return int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:8]) / 2**64


def _cut(keys: Iterator[Key], rows: int) -> Iterator[list[Key]]:
    while group := list(islice(keys, rows)):
        yield group
