"""The receipts of a version by step, read from lists when they are asked for, and written as lists."""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from pydantic import TypeAdapter

from storage.lists.files import NOWHERE, Kind, Layout, put_rows, read_lists, rows_of
from storage.receipts import Receipt
from storage.store import Store

_RECEIPT = TypeAdapter(Receipt)


def _line(receipt: Receipt) -> str:
    return json.dumps(receipt.to_dict(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


RECEIPTS: Kind[Receipt] = Kind(4096, _line, _RECEIPT.validate_json)
"""Lists of receipts. With four steps, a version has one list more for each 1,000 work units."""


class ListedSteps(Mapping[str, list[Receipt]]):
    """Receipts by step; those of a step are read when they are asked for first, and stay in memory.

    Args:
        store: holds the lists.
        layouts: where the receipts are, by step.
        known: the receipts of steps that need not be read.
    """

    def __init__(
        self, store: Store, layouts: Mapping[str, Layout], known: Mapping[str, list[Receipt]] = MappingProxyType({})
    ) -> None:
        self.layouts = layouts
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
            self._receipts[step] = rows_of(self.lists(step), self.layouts[step])
        return self._receipts[step]

    def __contains__(self, step: object) -> bool:
        return step in self.layouts

    def __iter__(self) -> Iterator[str]:
        return iter(self.layouts)

    def __len__(self) -> int:
        return len(self.layouts)

    def lists(self, step: str) -> list[list[Receipt]]:
        """The whole lists of a step.

        Raises:
            KeyError: the version has no such step.
            CorruptStore: a list is missing or damaged.
        """
        if step not in self._lists:
            self._lists[step] = read_lists(self._store, RECEIPTS, self.layouts[step].lists)
        return self._lists[step]


def put_steps(
    store: Store, steps: Mapping[str, Sequence[Receipt]], parent: Mapping[str, Sequence[Receipt]]
) -> dict[str, Layout]:
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
    old = parent if isinstance(parent, ListedSteps) else ListedSteps(store, {})
    layouts: dict[str, Layout] = {}
    for step, receipts in steps.items():
        lists = old.lists(step) if step in old else ()
        layouts[step] = put_rows(store, RECEIPTS, receipts, old.layouts.get(step, NOWHERE), lists)
    return layouts
