"""Erase suppressed speech: remove every file of a store that holds it."""

from collections.abc import Collection
from functools import partial

from pipelines.build.collect import collect
from pipelines.errors import UserError
from pipelines.forget.forget import opened
from pipelines.forget.survey import COLUMNS, OPTIONAL, Units, entries_of
from pipelines.reading import read_ahead
from pipelines.records import earlier_names_of, suppression_of
from pipelines.sources.screen import Screen
from storage.collecting.garbage import Garbage
from storage.collecting.marks import alone
from storage.errors import StorageError
from storage.receipts import Receipt
from storage.store import Store
from storage.suppression.merged import Suppression
from storage.tables import read_table

FAILURES = "failures"
"""Folder of records of failed work units, which name utterances; no version needs them."""


def erase(uri: str, expire: Collection[int] = (), *, dry_run: bool = False) -> Garbage:
    """Remove all versions that hold suppressed speech, and at once all that no version refers to then.

    Args:
        uri: folder or s3:// URL of the corpus.
        expire: numbers of further versions to remove.
        dry_run: find what would be removed, and remove nothing.

    Returns:
        What was removed.

    Raises:
        UserError: nothing is suppressed, or the newest version holds some of it.
        StorageError: a program is at work in the store, or the store does not answer or refuses.
    """
    store, version = opened(uri)
    suppression = Suppression.of(store).known_as(earlier_names_of(version))
    if not suppression.lists:
        raise UserError(f"{store.uri}: nothing is suppressed, so there is nothing to erase; begin with `echox forget`")
    if {*suppression.lists} - {*suppression_of(version)}:
        raise UserError(
            f"{version.uri} was made without all suppression lists of the store; end `echox forget`, or build the "
            "corpus again, and then erase"
        )
    held = {*expire, *holding_versions(store, suppression)}
    if not dry_run:
        with alone(store):
            for path in list(store.list(FAILURES)):
                store.delete(path)
    return collect(store, held, grace_seconds=0.0, dry_run=dry_run)


def holding_versions(store: Store, suppression: Suppression) -> list[int]:
    """Numbers of the versions that hold suppressed speech.

    Raises:
        StorageError: a version or a table cannot be read.
    """
    units = Units.of(store)
    jobs = (partial(_holds, store, receipt, suppression) for receipt in units.ingest.values())
    found = zip(units.ingest, read_ahead(jobs), strict=True)
    held = {name for name, holds in found if holds}
    return [number for number, names in units.versions.items() if names & held]


def _holds(store: Store, receipt: Receipt, suppression: Suppression) -> bool:
    """Whether a work unit holds suppressed speech, or a list of its entries names some."""
    screen = Screen(suppression, lambda _: ())
    try:
        tables = [read_table(store, f.path, COLUMNS, OPTIONAL) for f in receipt.files if f.table == "utterances"]
        rejects = [read_table(store, f.path, ["utterance_id"]) for f in receipt.files if f.table == "rejects"]
    except StorageError:
        return True  # a damaged version cannot be shown to be free of it
    names = [line["item"].get("utterance_id") for line in entries_of(store, receipt)[0]]
    names += [name for table in rejects for name in table["utterance_id"].to_pylist()]
    if any(name and suppression.withdraws(name) for name in names):
        return True
    return any(screen.hits(row) for table in tables for row in table.to_pylist())
