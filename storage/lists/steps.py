"""The receipts of a version by step, read from lists when they are asked for, and written as lists.

A list is a file of receipts, one JSON object a line, under the name of its SHA-256. It is written once and shared by
all versions that need it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from storage.artifacts import digest
from storage.errors import RESTORE, AlreadyExists, CorruptStore, NotFound
from storage.lists.arrange import Part, arranged
from storage.receipts import Receipt
from storage.store import Store

THREADS = 8
"""Lists that are read at a time."""
REMEDY = f"{RESTORE}; every version that needs this list is unreadable until then"
"""What a person can do about a damaged list."""
_RECEIPT = TypeAdapter(Receipt)


@dataclass(frozen=True)
class Listed:
    """Where the receipts of a step are.

    Attributes:
        lists: SHA-256 of each list.
        parts: (position of the list, position of a receipt in it, number of receipts from there on), in the order of
            the receipts of the step.
    """

    lists: Sequence[str]
    parts: Sequence[Part]


class ListedSteps(Mapping[str, list[Receipt]]):
    """Receipts by step; those of a step are read when they are asked for first, and stay in memory.

    Args:
        store: holds the lists.
        listed: where the receipts are, by step.
        known: the receipts of steps that need not be read.
    """

    def __init__(
        self, store: Store, listed: Mapping[str, Listed], known: Mapping[str, list[Receipt]] = MappingProxyType({})
    ) -> None:
        self.listed = listed
        self._store = store
        self._lists: dict[str, list[list[Receipt]]] = {}
        self._receipts = dict(known)

    def __getitem__(self, step: str) -> list[Receipt]:
        """Receipts of a step.

        Raises:
            KeyError: the version has no such step.
            CorruptStore: a list is missing or damaged.
        """
        if step not in self._receipts:
            lists, parts = self.lists(step), self.listed[step].parts
            self._receipts[step] = [
                receipt for number, first, count in parts for receipt in lists[number][first : first + count]
            ]
        return self._receipts[step]

    def __contains__(self, step: object) -> bool:
        return step in self.listed

    def __iter__(self) -> Iterator[str]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)

    def lists(self, step: str) -> list[list[Receipt]]:
        """The whole lists of a step.

        Raises:
            KeyError: the version has no such step.
            CorruptStore: a list is missing or damaged.
        """
        if step not in self._lists:
            with ThreadPoolExecutor(THREADS) as pool:
                self._lists[step] = list(pool.map(partial(_read, self._store), self.listed[step].lists))
        return self._lists[step]


def list_path(sha256: str) -> str:
    """Path of a list of receipts."""
    return f"lists/{sha256}.jsonl"


def put_lists(
    store: Store, steps: Mapping[str, Sequence[Receipt]], parent: Mapping[str, Sequence[Receipt]]
) -> dict[str, Listed]:
    """Write the receipts of a version as lists; what its parent has listed is not written again.

    Args:
        store: the target.
        steps: receipts of the version.
        parent: receipts of its parent, as they were read.

    Returns:
        Where the receipts are, by step.

    Raises:
        StorageError: the store refuses, or a list of the parent cannot be read.
    """
    return {step: _put(store, step, receipts, parent) for step, receipts in steps.items()}


def _put(store: Store, step: str, receipts: Sequence[Receipt], parent: Mapping[str, Sequence[Receipt]]) -> Listed:
    old = Listed((), ())
    lists: Sequence[Sequence[Receipt]] = ()
    if isinstance(parent, ListedSteps) and step in parent:
        old, lists = parent.listed[step], parent.lists(step)
    made = arranged(receipts, lists, old.parts)
    kept = (old.lists[number] for number in made.kept)
    return Listed([*kept, *(_put_list(store, new) for new in made.new)], made.parts)


def _put_list(store: Store, receipts: Sequence[Receipt]) -> str:
    """Write a list, unless it is there whole; return its name."""
    data = b"".join(map(_line, receipts))
    name = digest(data)
    try:
        store.create(list_path(name), data)
    except AlreadyExists:
        if store.get(list_path(name)) != data:
            store.put(list_path(name), data)
    return name


def _line(receipt: Receipt) -> bytes:
    values: dict[str, Any] = receipt.to_dict()
    return (json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _read(store: Store, name: str) -> list[Receipt]:
    path = list_path(name)
    try:
        data = store.get(path)
    except NotFound as error:
        raise CorruptStore(f"{error}; {REMEDY}") from error
    if digest(data) != name:
        raise CorruptStore(f"{store.url(path)}: not the file that was written (SHA-256 differs); {REMEDY}")
    return [_RECEIPT.validate_json(line) for line in data.splitlines()]
