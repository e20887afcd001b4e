"""Candidates: versions that moved too far from the one before, and a person's word that one of them is good."""

import getpass
import json
from datetime import UTC, datetime
from typing import Literal

from storage.errors import AlreadyExists, StorageError
from storage.manifests import Manifest, load
from storage.receipts import to_json
from storage.store import Store

Status = Literal["accepted", "candidate", "approved"]
"""Of a version: nothing to look at; something that nobody has approved yet; something that a person has approved."""


def status(store: Store, manifest: Manifest) -> Status:
    """Whether a version may be trained on: a candidate may not."""
    if not manifest.review:
        return "accepted"
    return "approved" if store.exists(_path(manifest.version)) else "candidate"


def approve(store: Store, manifest: Manifest) -> bool:
    """Approve a candidate, for good; returns False where there was nothing to approve."""
    if status(store, manifest) != "candidate":
        return False
    approval = {"by": getpass.getuser(), "at": datetime.now(UTC).isoformat(timespec="seconds"), "of": manifest.review}
    try:
        store.create(_path(manifest.version), to_json(approval))
    except AlreadyExists:
        return False
    return True


def approver(store: Store, manifest: Manifest) -> str | None:
    """Who approved a version, and when; None where nobody did."""
    if status(store, manifest) != "approved":
        return None
    approval = json.loads(store.get(_path(manifest.version)))
    return f"{approval['by']}, {approval['at']}"


def check_trainable(store: Store, manifest: Manifest) -> None:
    """Refuse a candidate.

    Raises:
        StorageError: with what there is to look at, and the remedy.
    """
    if status(store, manifest) == "candidate":
        raise StorageError(
            f"{manifest.uri} is a candidate: {'; '.join(manifest.review)}. Look at it (`echox inspect {manifest.uri}`) "
            f"and approve it (`echox approve {manifest.uri}`), or train on an earlier version"
        )


def last_accepted(store: Store, manifest: Manifest | None) -> Manifest | None:
    """The version itself or the nearest one before it that is no candidate; None where there is none."""
    while manifest is not None and status(store, manifest) == "candidate":
        manifest = load(store, manifest.parent) if manifest.parent else None
    return manifest


def _path(version: int) -> str:
    return f"approvals/{version:08d}.json"
