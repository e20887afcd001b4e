"""Files of suppression lists, which name speech by digests alone.

A list is a file `suppressed/<digest of its contents>.json`, which is never changed. All lists of a store count
together, so that the lists of another store may be copied beside them. The digests are SHA-256 without a key: they do
not show an id or a text, but whoever guesses one can check the guess.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter

from storage.errors import AlreadyExists
from storage.records import read_sealed, sealed, typed
from storage.store import Store

FOLDER = "suppressed"
LIST_FORMAT = 1
DIGITS = 32
"""Hexadecimal digits of the name of a list."""


def digest_of(*values: object) -> str:
    """SHA-256 of values, hexadecimal; different values never have the same text."""
    return sha256("\0".join(map(str, values)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Suppressed:
    """An utterance or a rejected entry that was withdrawn; all but `size` are digests, and None where it has none.

    Attributes:
        id: its id.
        part_of: the id of its entry, if other channels of the same entry stay.
        audio: the checksum of its encoded audio.
        content: that checksum, the offset, the length and the channel.
        size: bytes of the file of its audio, if known; only such files are read to compare them.
        text: its text.
        flac: its FLAC in the training shards.
    """

    id: str
    part_of: str | None = None
    audio: str | None = None
    content: str | None = None
    size: int | None = None
    text: str | None = None
    flac: str | None = None


@dataclass(frozen=True, kw_only=True)
class SuppressionList:
    """A list.

    Attributes:
        reason: why, as a person said it.
        created: UTC, ISO 8601.
        utterances: what is suppressed, in the order of the digests.
    """

    reason: str
    created: str
    utterances: tuple[Suppressed, ...]


_LIST = TypeAdapter(SuppressionList)
_FIELDS = {"format", *(f.name for f in fields(SuppressionList))}


def list_path(name: str) -> str:
    """Path of a list."""
    return f"{FOLDER}/{name}.json"


def list_names(store: Store) -> set[str]:
    """Names of the lists of a store.

    Raises:
        StorageError: the store does not answer.
    """
    paths = (path.rpartition("/")[2] for path in store.list(FOLDER))
    return {name.removesuffix(".json") for name in paths if name.endswith(".json")}


def read_list(store: Store, name: str) -> SuppressionList:
    """Read a list.

    Raises:
        NotFound: there is no such list.
        CorruptStore: it is not what was written.
    """
    path = list_path(name)
    values = read_sealed(store.get(path), store.url(path), _FIELDS)
    values.pop("format", None)
    return typed(_LIST, values, store.url(path))


def put_list(store: Store, reason: str, created: str, utterances: Sequence[Suppressed]) -> str:
    """Write a list; return its name.

    Args:
        store: the corpus.
        reason: why, as a person said it.
        created: UTC, ISO 8601.
        utterances: what is suppressed.

    Raises:
        StorageError: the store refuses.
    """
    data = sealed({"format": LIST_FORMAT, "reason": reason, "created": created, "utterances": _plain(utterances)})
    name = sha256(data).hexdigest()[:DIGITS]
    with suppress(AlreadyExists):
        store.create(list_path(name), data)
    return name


def _plain(utterances: Iterable[Suppressed]) -> list[dict[str, Any]]:
    return [{name: value for name, value in asdict(u).items() if value is not None} for u in utterances]
