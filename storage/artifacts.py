"""Fitted models that a corpus depends on: quantizers and unit languages, as a few files each."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from storage.errors import AlreadyExists, CommitConflict, CorruptStore, NotFound, StorageError, remedy
from storage.records import read_object, to_json, typed
from storage.store import Store

CARD = "card.json"
"""Written last: an artifact with a card is complete."""
CHECKSUMS = "checksums.json"
"""SHA-256 of every file of the artifact, by name."""
_CHECKSUMS = TypeAdapter(dict[str, str])


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
        checksums = to_json({name: digest(data) for name, data in files.items()})
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
                "differently); remove its folder if no version refers to it, or build into a new store"
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
        NotFound: there is no such artifact, or one of its files is missing.
        CorruptStore: a file differs from what was written.
    """
    checksums = checksums_of(store, kind, fingerprint)
    return {name: _read(store, kind, fingerprint, name, sha256) for name, sha256 in checksums}


def read_card(store: Store, kind: str, fingerprint: str) -> dict[str, Any]:
    """Read the card of an artifact and check it against its checksum.

    Raises:
        NotFound: there is no such artifact, or one of its files is missing.
        CorruptStore: a file differs from what was written.
    """
    data = _read(store, kind, fingerprint, CARD, dict(checksums_of(store, kind, fingerprint)).get(CARD, ""))
    return read_object(data, store.url(f"{artifact_path(kind, fingerprint)}/{CARD}"))


def checksums_of(store: Store, kind: str, fingerprint: str) -> list[tuple[str, str]]:
    """Names and SHA-256 of the files of an artifact.

    Raises:
        NotFound: there is no such artifact.
        CorruptStore: the list of checksums is damaged.
    """
    path = f"{artifact_path(kind, fingerprint)}/{CHECKSUMS}"
    url = store.url(path)
    checksums = typed(_CHECKSUMS, read_object(_get(store, path), url), url)
    return sorted(checksums.items())


def _read(store: Store, kind: str, fingerprint: str, name: str, sha256: str) -> bytes:
    path = f"{artifact_path(kind, fingerprint)}/{name}"
    data = _get(store, path)
    if digest(data) != sha256:
        raise CorruptStore(f"{store.url(path)} is not what was written (SHA-256 differs); {remedy(store.uri)}")
    return data


def _get(store: Store, path: str) -> bytes:
    try:
        return store.get(path)
    except NotFound as error:
        raise NotFound(f"{error}; {remedy(store.uri)}") from error


def digest(data: bytes) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(data).hexdigest()
