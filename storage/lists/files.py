"""Lists of rows, as files that never change and that versions share.

A list is a file under the name of its SHA-256, with one row, a JSON object, a line. It is written once.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic

from storage.artifacts import digest
from storage.errors import RESTORE, AlreadyExists, CorruptStore, NotFound
from storage.lists.arrange import Part, RowT, arranged
from storage.store import Store

THREADS = 8
"""Lists that are read at a time."""


@dataclass(frozen=True)
class Layout:
    """Where the rows of a version are.

    Attributes:
        lists: SHA-256 of each list.
        parts: (position of the list, position of a row in it, number of rows from there on), in the order of the rows.
    """

    lists: Sequence[str]
    parts: Sequence[Part]


NOWHERE = Layout((), ())
"""The layout of no rows."""


@dataclass(frozen=True)
class Kind(Generic[RowT]):
    """Type of the rows of a list.

    Attributes:
        longest: rows of one list, at most.
        to_line: formats a row as JSON without line ends.
        from_line: reads a row.
    """

    longest: int
    to_line: Callable[[RowT], str]
    from_line: Callable[[bytes], RowT]


def list_path(sha256: str) -> str:
    """Path of a list."""
    return f"lists/{sha256}.jsonl"


def read_lists(store: Store, kind: Kind[RowT], names: Sequence[str]) -> list[list[RowT]]:
    """Read whole lists.

    Raises:
        CorruptStore: a list is missing or damaged.
        StorageError: the store does not answer or refuses.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(partial(_read, store, kind), names))


def rows_of(lists: Sequence[Sequence[RowT]], layout: Layout) -> list[RowT]:
    """The rows of a layout, from its lists."""
    return [row for number, first, count in layout.parts for row in lists[number][first : first + count]]


def put_rows(
    store: Store, kind: Kind[RowT], rows: Sequence[RowT], old: Layout, lists: Sequence[Sequence[RowT]]
) -> Layout:
    """Write the rows of a version as lists; what its parent has listed is not written again.

    Args:
        store: the target.
        kind: of the rows.
        rows: those of the version, in order.
        old: layout of the rows of its parent.
        lists: the lists of that layout.

    Raises:
        StorageError: the store refuses.
    """
    made = arranged(rows, lists, old.parts, kind.longest)
    kept = (old.lists[number] for number in made.kept)
    return Layout([*kept, *(_put(store, kind, new) for new in made.new)], made.parts)


def _put(store: Store, kind: Kind[RowT], rows: Sequence[RowT]) -> str:
    """Write a list, unless it is there whole; return its name."""
    data = "".join(f"{kind.to_line(row)}\n" for row in rows).encode()
    name = digest(data)
    try:
        store.create(list_path(name), data)
    except AlreadyExists:
        if store.get(list_path(name)) != data:
            store.put(list_path(name), data)
    return name


def _read(store: Store, kind: Kind[RowT], name: str) -> list[RowT]:
    return [kind.from_line(line) for line in checked_list(store, name).splitlines()]


def checked_list(store: Store, name: str) -> bytes:
    """The file of a list.

    Raises:
        CorruptStore: it is missing or damaged.
        StorageError: the store does not answer or refuses.
    """
    try:
        data = store.get(list_path(name))
    except NotFound as error:
        raise CorruptStore(f"{error}; {RESTORE}") from error
    if digest(data) != name:
        url = store.url(list_path(name))
        raise CorruptStore(f"{url}: not the file that was written (SHA-256 differs); {RESTORE}")
    return data
