"""Candidates: versions that changed too much against the one before, and approvals of them by a person."""

import getpass
import json
from datetime import UTC, datetime
from typing import Literal

from storage.errors import AlreadyExists, StorageError
from storage.receipts import to_json
from storage.store import Store
from storage.versions import Version, load

Status = Literal["accepted", "candidate", "approved"]
"""Status of a version: accepted needs no approval, a candidate has none yet, approved has one."""


def status(store: Store, version: Version) -> Status:
    """Return the status of a version; candidates must not be trained on.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if not version.review:
        return "accepted"
    return "approved" if store.exists(_path(version.number)) else "candidate"


def approve(store: Store, version: Version) -> bool:
    """Approve a candidate permanently; return False if there was nothing to approve.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if status(store, version) != "candidate":
        return False
    approval = {"by": getpass.getuser(), "at": datetime.now(UTC).isoformat(timespec="seconds"), "of": version.review}
    try:
        store.create(_path(version.number), to_json(approval))
    except AlreadyExists:
        return False
    return True


def approver(store: Store, version: Version) -> str | None:
    """Name of the person who approved a version and the time; None if nobody did.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if status(store, version) != "approved":
        return None
    approval = json.loads(store.get(_path(version.number)))
    return f"{approval['by']}, {approval['at']}"


def check_trainable(store: Store, version: Version) -> None:
    """Refuse a candidate.

    Raises:
        StorageError: the version is a candidate; the message lists its review points and the remedy.
    """
    if status(store, version) == "candidate":
        raise StorageError(
            f"{version.uri} is a candidate: {'; '.join(version.review)}. Look at it (`echox inspect {version.uri}`) "
            f"and approve it (`echox approve {version.uri}`), or train on an earlier version"
        )


def last_accepted(store: Store, version: Version | None) -> Version | None:
    """Return the version, or the nearest earlier one, that is not a candidate; None if there is none.

    Raises:
        StorageError: an earlier version cannot be read.
    """
    while version is not None and status(store, version) == "candidate":
        version = load(store, version.parent) if version.parent else None
    return version


def _path(version: int) -> str:
    return f"approvals/{version:08d}.json"
