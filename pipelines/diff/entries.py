"""Utterances that were added, removed and changed between two versions, by dataset.

Shapes: N = rows of all files that only one of the versions has, F = facts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from pipelines.diff.digests import Digests, combined, digests_of, names_of
from pipelines.reading import read_ahead
from storage.receipts import DataFile
from storage.schemas import OPTIONAL, UTTERANCES
from storage.store import Store
from storage.tables import read_table

CONTENT = ("checksum", "offset_samples", "num_samples", "channel")
"""Columns that say which audio an utterance is."""
NO_FACTS = {"utterance_id", "dataset", "source_key", *CONTENT}
"""Columns that are neither facts nor hold audio; `source_key` also changes with how a source lists its entries."""
ADDED_COLUMNS = tuple(field.name for field in OPTIONAL["utterances"])
FACTS = tuple(name for name in (*UTTERANCES.names, *ADDED_COLUMNS) if name not in NO_FACTS)
"""Columns that say something about an utterance; of `audio` only the place counts."""
COLUMNS = ["audio.uri" if name == "audio" else name for name in UTTERANCES.names if name != "source_key"]
ROW = np.dtype([("id", "u8"), ("dataset", "u8"), ("content", "u8"), ("source", "u8"), ("facts", "u4", (len(FACTS),))])
"""Columns that are kept of an utterance: digests."""
Rows = NDArray[Any]
"""An array of `ROW`, of shape (N,)."""


class EntryChanges(TypedDict):
    """Numbers of utterances of a dataset.

    Attributes:
        added: only the later version has the id.
        removed: only the earlier version has the id.
        content: both have the id, with other audio: checksum, offset, length or channel.
        facts: both have the id, with other facts.
        changed_facts: number of utterances with another value, by column.
    """

    added: int
    removed: int
    content: int
    facts: int
    changed_facts: dict[str, int]


@dataclass(frozen=True)
class Entries:
    """Digests of the utterances in some files, ordered by id.

    Attributes:
        rows: shape (N,).
        datasets: names of the datasets by digest.
    """

    rows: Rows
    datasets: dict[int, str]

    @classmethod
    def read(cls, store: Store, files: Sequence[DataFile]) -> Self:
        """Read files of the table `utterances`; the audio stays in the store.

        Raises:
            StorageError: a file cannot be read.
        """
        parts: list[Rows] = [np.zeros(0, ROW)]
        datasets: dict[int, str] = {}
        for rows, names in read_ahead(partial(_rows, store, file) for file in files):
            parts.append(rows)
            datasets |= names
        rows = np.concatenate(parts)
        return cls(rows[np.argsort(rows["id"], kind="stable")], datasets)


def _rows(store: Store, file: DataFile) -> tuple[Rows, dict[int, str]]:
    table = read_table(store, file.path, COLUMNS, optional=ADDED_COLUMNS).flatten()
    digests = {name.partition(".")[0]: digests_of(table[name]) for name in table.column_names}
    unknown = np.zeros(table.num_rows, np.uint64)
    rows = np.zeros(table.num_rows, ROW)
    rows["id"], rows["dataset"], rows["source"] = digests["utterance_id"], digests["dataset"], digests["audio"]
    rows["content"] = combined(*(digests.get(name, unknown) for name in CONTENT))
    for number, name in enumerate(FACTS):
        rows["facts"][:, number] = digests.get(name, unknown) >> np.uint64(32)
    return rows, names_of(table["dataset"])


@dataclass(frozen=True)
class EntryDiff:
    """Utterances that differ between two versions.

    Attributes:
        added: rows of the later version alone.
        removed: rows of the earlier version alone.
        by_dataset: numbers by name of the dataset, for datasets with a difference.
    """

    added: Rows
    removed: Rows
    by_dataset: dict[str, EntryChanges]

    @classmethod
    def of(cls, before: Entries, after: Entries) -> Self:
        """Compare the utterances of the files that only one version has; those of common files are equal."""
        _, in_before, in_after = np.intersect1d(before.rows["id"], after.rows["id"], return_indices=True)
        old, new = before.rows[in_before], after.rows[in_after]
        added, removed = np.delete(after.rows, in_after), np.delete(before.rows, in_before)
        changes = {
            "added": _counts(added["dataset"]),
            "removed": _counts(removed["dataset"]),
            "content": _counts(new["dataset"][old["content"] != new["content"]]),
            "facts": _counts(new["dataset"][(old["facts"] != new["facts"]).any(axis=1)]),
        }
        columns = {
            name: _counts(new["dataset"][old["facts"][:, number] != new["facts"][:, number]])
            for number, name in enumerate(FACTS)
        }
        names = before.datasets | after.datasets
        touched = {dataset for counts in changes.values() for dataset in counts}
        return cls(
            added, removed, {names[d]: _changes(d, changes, columns) for d in sorted(touched, key=names.__getitem__)}
        )


def _counts(datasets_N: Digests) -> Counter[int]:
    found, counts = np.unique(datasets_N, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def _changes(dataset: int, changes: dict[str, Counter[int]], columns: dict[str, Counter[int]]) -> EntryChanges:
    return EntryChanges(
        added=changes["added"][dataset],
        removed=changes["removed"][dataset],
        content=changes["content"][dataset],
        facts=changes["facts"][dataset],
        changed_facts={name: counts[dataset] for name, counts in columns.items() if counts[dataset]},
    )
