"""Rejects that came, went and healed between two versions, by reason.

Shapes: N = rejects of some files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from pipelines.diff.digests import NULL, Digests, combined, digest8, digests_of, names_of
from pipelines.diff.entries import EntryDiff
from pipelines.reading import read_ahead
from pipelines.steps.ingest import Ingest
from storage.receipts import DataFile
from storage.store import Store
from storage.tables import read_table

COLUMNS = ("dataset", "utterance_id", "source", "step", "reason")
ROW = np.dtype([("key", "u8"), ("reason", "u8"), ("id", "u8"), ("source", "u8"), ("listed", "?")])
"""Columns kept of a reject: digests; whether `ingest` rejected it, so that it never became an utterance."""
Rows = NDArray[Any]
"""An array of `ROW`, of shape (N,)."""


class RejectChanges(TypedDict):
    """Numbers of rejects of a reason.

    Attributes:
        came: the earlier version lacks the reject.
        went: the later version lacks the reject.
        healed: rejects of the earlier version whose id, or source if they have no id, is an utterance of the later one
            that was not rejected. Builds may keep the reject beside the utterance: it then healed, but never went.
    """

    came: int
    went: int
    healed: int


@dataclass(frozen=True)
class Rejects:
    """Digests of the rejects in some files.

    Attributes:
        rows: shape (N,).
        reasons: names of the reasons by digest.
    """

    rows: Rows
    reasons: dict[int, str]

    @classmethod
    def read(cls, store: Store, files: Sequence[DataFile]) -> Self:
        """Read files of the table `rejects`.

        Raises:
            StorageError: a file cannot be read.
        """
        parts: list[Rows] = [np.zeros(0, ROW)]
        reasons: dict[int, str] = {}
        for rows, names in read_ahead(partial(_rows, store, file) for file in files):
            parts.append(rows)
            reasons |= names
        return cls(np.concatenate(parts), reasons)


def _rows(store: Store, file: DataFile) -> tuple[Rows, dict[int, str]]:
    table = read_table(store, file.path, COLUMNS)
    digests = {name: digests_of(table[name]) for name in COLUMNS}
    rows = np.zeros(table.num_rows, ROW)
    rows["key"] = combined(*digests.values())
    rows["reason"], rows["id"], rows["source"] = digests["reason"], digests["utterance_id"], digests["source"]
    rows["listed"] = digests["step"] == digest8(Ingest.name)
    return rows, names_of(table["reason"])


def reject_changes(before: Rejects, after: Rejects, common: Rejects, entries: EntryDiff) -> dict[str, RejectChanges]:
    """Compare rejects; return the numbers by reason, for reasons with a difference.

    Args:
        before: rejects of the files that only the earlier version has.
        after: rejects of the files that only the later version has.
        common: rejects of the files that both have.
        entries: differences of the utterances.
    """
    came, went = _surplus(after.rows, before.rows), _surplus(before.rows, after.rows)
    healed = _healed(before.rows, after.rows, common.rows, entries)
    names = before.reasons | after.reasons | common.reasons
    counts = {digest: RejectChanges(came=0, went=0, healed=0) for digest in sorted(names, key=names.__getitem__)}
    for digests_N, kind in ((came, "came"), (went, "went"), (healed, "healed")):
        for digest in digests_N.tolist():
            counts[digest][kind] += 1
    return {names[digest]: changes for digest, changes in counts.items() if any(changes.values())}


def _surplus(rows: Rows, others: Rows) -> Digests:
    """Reasons of the rejects that `others` lacks; a reject that is there several times counts as often."""
    keys, first, counts = np.unique(rows["key"], return_index=True, return_counts=True)
    known, known_counts = np.unique(others["key"], return_counts=True)
    _, at, known_at = np.intersect1d(keys, known, assume_unique=True, return_indices=True)
    counts[at] -= known_counts[known_at]
    return np.repeat(rows["reason"][first], np.maximum(counts, 0))


def _healed(before: Rows, after: Rows, common: Rows, entries: EntryDiff) -> Digests:
    """Reasons of the earlier version's rejects that became utterances."""
    refused = after["id"][~after["listed"]]  # utterances of the later version that a later step rejects
    usable = entries.added[~np.isin(entries.added["id"], refused)]
    listed = np.concatenate([rows[rows["listed"]] for rows in (before, common)])
    named = listed["id"] != NULL
    became = np.where(named, np.isin(listed["id"], usable["id"]), np.isin(listed["source"], usable["source"]))
    later = before[~before["listed"]]
    kept = ~np.isin(later["id"], refused) & ~np.isin(later["id"], entries.removed["id"])
    return np.concatenate([listed["reason"][became], later["reason"][kept]])
