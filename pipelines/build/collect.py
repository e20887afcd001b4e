"""Remove versions of a corpus, and what no version or unfinished build refers to any more."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from pipelines.build.handover import pending
from storage.approvals import last_accepted
from storage.collecting.garbage import Garbage, find_garbage, remove
from storage.collecting.marks import alone, clock, living_paths, unfinished_since
from storage.errors import CorruptStore
from storage.store import Store
from storage.versions import latest, load, version_numbers

GRACE_SECONDS = 24 * 3600.0
"""Age from which a file that no version refers to is removed."""


def collect(
    store: Store, expire: Collection[int] = (), *, grace_seconds: float = GRACE_SECONDS, dry_run: bool = False
) -> Garbage:
    """Remove versions, and then what nothing refers to: files of removed versions and of abandoned builds.

    A file is spared while it is younger than `grace_seconds`, or was written since a program began that ended, without
    finishing its work, less than `grace_seconds` ago. `storage.collecting.marks` says why no running build is harmed,
    and `storage.collecting.garbage` why an interruption is not either: the same call finishes it.

    Args:
        store: the corpus.
        expire: numbers of the versions to remove; never the newest.
        grace_seconds: age from which a file may be removed; 0 for all that nothing refers to.
        dry_run: find what would be removed, and remove nothing.

    Returns:
        What was removed.

    Raises:
        StorageError: a program is at work in the store, a version that stays cannot be read, `expire` has the newest
            version or one that is not there, or the store does not answer or refuses.
    """
    if dry_run:
        return _found(store, expire, grace_seconds, datetime.now(UTC))
    with alone(store) as mark:
        garbage = _found(store, expire, grace_seconds, clock(store, mark.path))
        remove(garbage, mark.check)
        return garbage


def _found(store: Store, expire: Collection[int], grace_seconds: float, now: datetime) -> Garbage:
    since = now - timedelta(seconds=grace_seconds)
    before = min(since, unfinished_since(store, since) or since)
    return find_garbage(
        store,
        expire,
        before=before,
        grace_seconds=grace_seconds,
        pending=pending(store, since),
        alive=living_paths(store),
    )


def to_expire(store: Store, keep: int | None, older_than_seconds: float | None) -> list[int]:
    """Numbers of the versions that both rules let go; none without a rule.

    The newest version always stays, and the newest one that needs no approval or has it: builds are compared with it.

    Args:
        store: the corpus.
        keep: number of newest versions that stay; None = no such rule.
        older_than_seconds: versions that were committed later stay; None = no such rule.

    Raises:
        StorageError: a version cannot be read.
    """
    if keep is None and older_than_seconds is None:
        return []
    numbers = version_numbers(store)
    candidates = numbers[: -max(keep or 1, 1)]
    accepted = last_accepted(store, latest(store)) if candidates else None
    found = [number for number in candidates if accepted is None or number != accepted.number]
    if older_than_seconds is None:
        return found
    youngest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
    return [number for number in found if _committed(store, number) <= youngest]


def _committed(store: Store, number: int) -> datetime:
    version = load(store, number)
    try:
        return datetime.fromisoformat(version.created).astimezone(UTC)
    except ValueError as error:
        raise CorruptStore(f"{version.uri}: created is {version.created!r}, which is no time") from error
