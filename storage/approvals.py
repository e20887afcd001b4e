"""Candidates: versions that changed too much against the one before, and approvals of them by a person."""

import getpass
from datetime import UTC, datetime
from typing import Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from storage.errors import AlreadyExists, StorageError
from storage.records import read_object, to_json, typed
from storage.store import Store
from storage.versions import Version, load, version_numbers

Status = Literal["accepted", "candidate", "approved"]
"""Status of a version: accepted needs no approval, a candidate has none yet, approved has one."""


class Approval(TypedDict):
    """The file of an approval: who, when (UTC, ISO 8601), and the review points of the version."""

    by: str
    at: str
    of: list[str]


_APPROVAL = TypeAdapter(Approval)


def status(store: Store, version: Version) -> Status:
    """Return the status of a version; candidates must not be trained on.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if not version.review:
        return "accepted"
    return "approved" if store.exists(approval_path(version.number)) else "candidate"


def approve(store: Store, version: Version) -> bool:
    """Approve a candidate permanently; return False if there was nothing to approve.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if status(store, version) != "candidate":
        return False
    now = datetime.now(UTC).isoformat(timespec="seconds")
    approval = Approval(by=getpass.getuser(), at=now, of=version.review)
    try:
        store.create(approval_path(version.number), to_json(approval))
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
    path = approval_path(version.number)
    url = store.url(path)
    approval = typed(_APPROVAL, read_object(store.get(path), url), url)
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

    A store that was copied in part lacks earlier versions.

    Raises:
        StorageError: an earlier version cannot be read.
    """
    earlier = version_numbers(store) if version is not None and status(store, version) == "candidate" else []
    while version is not None and status(store, version) == "candidate":
        number = max((number for number in earlier if number < version.number), default=None)
        version = None if number is None else load(store, number)
    return version


def approval_path(version: int) -> str:
    """Path of the approval of a version."""
    return f"approvals/{version:08d}.json"
