"""Candidates: versions that changed too much against the one before, and approvals of them by a person."""

import getpass
import json
from datetime import UTC, datetime
from typing import Literal

from storage.errors import AlreadyExists, StorageError
from storage.manifests import Manifest, load
from storage.receipts import to_json
from storage.store import Store

Status = Literal["accepted", "candidate", "approved"]
"""Status of a version: accepted needs no approval, a candidate has none yet, approved has one."""


def status(store: Store, manifest: Manifest) -> Status:
    """Return the status of a version; candidates must not be trained on.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if not manifest.review:
        return "accepted"
    return "approved" if store.exists(_path(manifest.version)) else "candidate"


def approve(store: Store, manifest: Manifest) -> bool:
    """Approve a candidate permanently; return False if there was nothing to approve.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if status(store, manifest) != "candidate":
        return False
    approval = {"by": getpass.getuser(), "at": datetime.now(UTC).isoformat(timespec="seconds"), "of": manifest.review}
    try:
        store.create(_path(manifest.version), to_json(approval))
    except AlreadyExists:
        return False
    return True


def approver(store: Store, manifest: Manifest) -> str | None:
    """Name of the person who approved a version and the time; None if nobody did.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if status(store, manifest) != "approved":
        return None
    approval = json.loads(store.get(_path(manifest.version)))
    return f"{approval['by']}, {approval['at']}"


def check_trainable(store: Store, manifest: Manifest) -> None:
    """Refuse a candidate.

    Raises:
        StorageError: the version is a candidate; the message lists its review points and the remedy.
    """
    if status(store, manifest) == "candidate":
        raise StorageError(
            f"{manifest.uri} is a candidate: {'; '.join(manifest.review)}. Look at it (`echox inspect {manifest.uri}`) "
            f"and approve it (`echox approve {manifest.uri}`), or train on an earlier version"
        )


def last_accepted(store: Store, manifest: Manifest | None) -> Manifest | None:
    """Return the version, or the nearest earlier one, that is not a candidate; None if there is none.

    Raises:
        StorageError: an earlier version cannot be read.
    """
    while manifest is not None and status(store, manifest) == "candidate":
        manifest = load(store, manifest.parent) if manifest.parent else None
    return manifest


def _path(version: int) -> str:
    return f"approvals/{version:08d}.json"
