"""Digests of the entries of a version, in lists that its successors share.

A build compares what the sources list with what the last version holds. The lists of entries of all work units of
`ingest` tell it, two files each; their digests tell the same in a few files. A digest is valid while the file of the
signatures of its work unit is the one that it was made from, by its ETag, for signatures change without a new version.
What has no valid digest is read from the lists of entries. So digests can be lost, and nothing but time is.
"""

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from pipelines.entries.entries import Entry, entry_dialogues, from_line, identity, stated
from pipelines.entries.roots import Roots
from pipelines.readers.base import Item
from pipelines.reading import read_ahead
from pipelines.sources.duplicates import Heard
from storage.errors import CorruptStore, NotFound
from storage.lists.files import NOWHERE, Kind, Layout, put_rows, read_lists
from storage.receipts import Receipt, entries_path, signatures_path
from storage.store import Store
from storage.suppression.names import under
from storage.versions import Version

FORMAT = 2
"""Raised when groups are made in another way; digests of other formats are not used."""
_GROUP = struct.Struct("<16s16sI?")
_SIGNATURES = signatures_path("")
Line = Mapping[str, Any]
"""Values of a line of a work unit of `ingest`."""


class GroupDigest(NamedTuple):
    """Digests of a group of entries, for comparison.

    Attributes:
        identity: digest of what names it.
        stated: digest of what is said about its entries.
        entries: their number.
        bad: no entry describes audio or text.
    """

    identity: bytes
    stated: bytes
    entries: int
    bad: bool


@dataclass(frozen=True)
class Digest:
    """Digests of a work unit of `ingest`, for comparison.

    Attributes:
        fingerprint: of the work unit.
        etag: of the file of its listing.
        listing: contents of that file.
        groups: its groups, packed, in base64.
        format: see `FORMAT`.
        heard: which audio its utterances are; None if unknown. It does not depend on the listing.
    """

    fingerprint: str
    etag: str
    listing: dict[str, Any]
    groups: str
    format: int
    heard: Heard | None = None

    def unpacked(self) -> list[GroupDigest]:
        """The groups of the work unit."""
        return list(map(GroupDigest._make, _GROUP.iter_unpack(b64decode(self.groups))))


_DIGEST = TypeAdapter(Digest)


def _line(row: Digest) -> str:
    return json.dumps(asdict(row), sort_keys=True, separators=(",", ":"))


DIGESTS: Kind[Digest] = Kind(512, _line, _DIGEST.validate_json)
"""Lists of digests; one of 512 work units of 1,024 entries each has about 40 MB."""


def read_digests(store: Store, version: Version | None) -> dict[str, Digest]:
    """The valid digests of a version, by the fingerprint of the work unit.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if version is None or version.entries is None:
        return {}
    etags = _etags(store)
    return {row.fingerprint: row for rows in _lists(store, version.entries) for row in rows if _is_valid(row, etags)}


def read_heard(store: Store, version: Version | None) -> dict[str, Heard]:
    """Which audio the utterances of a version are, by the fingerprint of the work unit, as far as it keeps that.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    if version is None or version.entries is None:
        return {}
    return {row.fingerprint: row.heard for rows in _lists(store, version.entries) for row in rows if row.heard}


def put_digests(
    store: Store,
    receipts: Sequence[Receipt],
    parent: Version | None,
    roots: Roots,
    heard: Mapping[str, Heard] = MappingProxyType({}),
) -> Layout:
    """Write the digests of a version as lists; what its parent has listed and is valid is not written again.

    Args:
        store: the corpus.
        receipts: receipts of `ingest` of the version.
        parent: its parent.
        roots: roots of the datasets.
        heard: which audio the utterances of work units are.

    Raises:
        StorageError: a list of entries cannot be read, or the store refuses.
    """
    etags = _etags(store)
    old = parent.entries if parent and parent.entries else NOWHERE
    lists = _lists(store, old)
    known = {row.fingerprint: row for rows in lists for row in rows if _is_valid(row, etags)}
    names = [receipt.fingerprint for receipt in receipts if receipt.fingerprint in etags]
    jobs = (partial(_made, store, name, etags[name], roots) for name in names if name not in known)
    known |= {row.fingerprint: row for row in read_ahead(jobs) if row}
    made = [replace(known[name], heard=heard.get(name)) for name in names if name in known]
    return put_rows(store, DIGESTS, made, old if lists else NOWHERE, lists)


def digests_of(
    lines: Sequence[Line], renamed: Mapping[str, str] = MappingProxyType({}), roots: Roots = MappingProxyType({})
) -> Iterator[GroupDigest]:
    """Yield the digests of the groups of a work unit.

    Args:
        lines: its entries.
        renamed: new names of datasets, by which the identities are made.
        roots: roots of the datasets, by their new names.
    """
    first = 0
    for group in entry_dialogues(from_line(line) for line in lines):
        of_group = lines[first : first + len(group)]
        bad = all(line["kind"] == "bad" for line in of_group)
        entry = renamed_entry(group[0], renamed)
        name = identity(entry, roots.get(entry.dataset))
        yield GroupDigest(name, stated(line["item"] for line in of_group), len(group), bad)
        first += len(group)


def renamed_entry(entry: Entry, renamed: Mapping[str, str]) -> Entry:
    """The entry with the new name of its dataset."""
    name = renamed.get(entry.dataset)
    if name is None:
        return entry
    if isinstance(entry, Item):
        return replace(entry, dataset=name, utterance_id=under(entry.utterance_id, name))
    utterance_id = entry.utterance_id and under(entry.utterance_id, name)
    return replace(entry, dataset=name, utterance_id=utterance_id)


def _lists(store: Store, layout: Layout) -> list[list[Digest]]:
    """The lists of a layout; none if one is missing or damaged."""
    try:
        return read_lists(store, DIGESTS, layout.lists)
    except CorruptStore:
        return []


def _etags(store: Store) -> dict[str, str]:
    """ETags of the files of the listings of all work units, by fingerprint."""
    folder, end = _SIGNATURES.rsplit("/", 1)
    found = {file.path.removeprefix(f"{folder}/").removesuffix(end): file.etag for file in store.listed(folder)}
    return {name: etag for name, etag in found.items() if etag}


def _is_valid(row: Digest, etags: Mapping[str, str]) -> bool:
    return row.format == FORMAT and etags.get(row.fingerprint) == row.etag


def _made(store: Store, fingerprint: str, etag: str, roots: Roots) -> Digest | None:
    """The digest of a work unit; None if its listing has just been removed."""
    try:
        listing = json.loads(store.get(signatures_path(fingerprint)))
    except NotFound:
        return None
    lines = [json.loads(line) for line in store.get(entries_path(fingerprint)).decode().split("\n")]
    packed = b"".join(_GROUP.pack(*group) for group in digests_of(lines, roots=roots))
    return Digest(fingerprint, etag, listing, b64encode(packed).decode(), FORMAT)
