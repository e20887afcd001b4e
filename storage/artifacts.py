"""Fitted models that a corpus depends on: quantizers and unit languages, as a few files each."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from storage.errors import AlreadyExists, CommitConflict, CorruptStore, NotFound, StorageError
from storage.receipts import to_json
from storage.store import Store

CARD = "card.json"
"""Written last: an artifact with a card is complete."""
CHECKSUMS = "checksums.json"
"""SHA-256 of every file of the artifact, by name."""


@dataclass(frozen=True)
class ArtifactRef:
    """Location of an artifact.

    Attributes:
        kind: `quantizer` or `unit_language`.
        fingerprint: hash of everything that it depends on.
        path: its folder in the store.
    """

    kind: str
    fingerprint: str
    path: str


def artifact_path(kind: str, fingerprint: str) -> str:
    """Folder of an artifact."""
    return f"artifacts/{kind}/{fingerprint}"


def put_artifact(store: Store, kind: str, fingerprint: str, files: Mapping[str, bytes]) -> ArtifactRef:
    """Store an artifact; an existing complete one stays as it is.

    Args:
        store: the target.
        kind: `quantizer` or `unit_language`.
        fingerprint: hash of everything that the artifact depends on.
        files: contents by name, `card.json` among them.

    Raises:
        StorageError: there is no `card.json`, or the store refuses.
        CommitConflict: another build has written other contents under this fingerprint.
    """
    if CARD not in files:
        raise StorageError(f"artifact {kind} {fingerprint} has no {CARD}")
    folder = artifact_path(kind, fingerprint)
    if not has_artifact(store, kind, fingerprint):
        for name in sorted(files.keys() - {CARD}):
            _put_once(store, f"{folder}/{name}", files[name])
        checksums = to_json({name: _digest(data) for name, data in files.items()})
        _put_once(store, f"{folder}/{CHECKSUMS}", checksums)
        _put_once(store, f"{folder}/{CARD}", files[CARD])
    return ArtifactRef(kind, fingerprint, folder)


def _put_once(store: Store, path: str, data: bytes) -> None:
    """Write a file that is never replaced: another build may refer to it already."""
    try:
        store.create(path, data)
    except AlreadyExists:
        if store.get(path) != data:
            raise CommitConflict(
                f"{store.url(path)} was written by another build with other contents (another machine rounds "
                "differently); build again, or remove its folder if no version refers to it"
            ) from None


def has_artifact(store: Store, kind: str, fingerprint: str) -> bool:
    """Return whether the artifact exists and is complete.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    return store.exists(f"{artifact_path(kind, fingerprint)}/{CARD}")


def get_artifact(store: Store, kind: str, fingerprint: str) -> dict[str, bytes]:
    """Read an artifact's files by name and check them against their checksums.

    Raises:
        NotFound: there is no such artifact.
        CorruptStore: a file is missing or differs from what was written.
    """
    folder = artifact_path(kind, fingerprint)
    if not has_artifact(store, kind, fingerprint):
        raise NotFound(f"{store.uri} has no {kind} {fingerprint}; build the corpus again")
    try:
        checksums: dict[str, str] = json.loads(store.get(f"{folder}/{CHECKSUMS}"))
        files = {name: store.get(f"{folder}/{name}") for name in checksums}
    except (NotFound, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptStore(f"{kind} in {store.url(folder)} is not complete: {error}") from error
    for name, data in files.items():
        if _digest(data) != checksums[name]:
            raise CorruptStore(f"{store.url(folder)}/{name} is not what was written; restore it from a copy")
    return files


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
