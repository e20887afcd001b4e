"""The entries that a version holds: in which work unit of `ingest`, what they say, and how their files looked."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

from pipelines.entries.entries import Names, Signature, entry_dialogues, from_line
from pipelines.entries.roots import Roots
from pipelines.reading import read_ahead
from pipelines.records import Borders, Receipts, statistics_of, utterance_files
from pipelines.sources.digests import Digest, GroupDigest, Line, digests_of, renamed_entry
from storage.errors import AlreadyExists, CorruptStore, NotFound
from storage.receipts import Receipt, entries_path, signatures_path
from storage.records import to_json
from storage.store import Store
from storage.suppression.names import under
from storage.tables import read_table

RECENT = 8
"""Lists of entries that stay in memory."""


@dataclass(frozen=True)
class Listing:
    """The signatures of the entries of a work unit, and whether their columns were read for rights."""

    signatures: list[Signature | None]
    rights: bool


@dataclass(frozen=True)
class Lines:
    """Lines of entries, and the signatures of their files.

    Attributes:
        rights: whether the program that read all these entries also read what columns say of rights.
    """

    lines: Sequence[str]
    signatures: Sequence[Signature | None]
    rights: bool = True


@dataclass(slots=True, unsafe_hash=True)
class Held:
    """Where a version holds a group of entries; never changed, but quicker to make than what is frozen.

    Attributes:
        chunk: position of the work unit.
        first: position of the first entry in the work unit.
        count: number of entries.
        stated: digest of what is said about them.
        bad: no entry of the group describes audio or text.
    """

    chunk: int
    first: int
    count: int
    stated: bytes
    bad: bool

    @property
    def end(self) -> int:
        """Position behind the last entry."""
        return self.first + self.count


@dataclass
class Chunk:
    """A work unit of `ingest`.

    Attributes:
        receipt: its receipt.
        signatures: of its entries, as of the last look at their files; None = unknown, or no file.
        older: written by an older program, which compared the sizes of files as parts of the entries.
        rights: whether the program that read its entries also read what columns say of rights.
        changed: the new lines of a group, in the place of the old; None = none.
    """

    receipt: Receipt
    signatures: list[Signature | None]
    older: bool
    rights: bool
    changed: dict[Held, Lines | None] = field(default_factory=dict["Held", "Lines | None"])

    @property
    def borders(self) -> Borders | None:
        """Rule by which its utterances are cut into files; None: that of older programs."""
        return statistics_of(self.receipt).get("borders")


class Holdings:
    """The groups of entries of a version, by name.

    Args:
        store: the corpus.
        receipts: receipts of `ingest` of the version.
        renamed: new names of datasets by their names in the version; groups are named by the new ones.
        later: receipts of the later steps for the rows of a work unit, by its fingerprint.
        digests: valid digests of work units, whose entries need not be read.
        roots: roots of the datasets, by their new names.

    Raises:
        StorageError: the lists of entries cannot be read.
    """

    def __init__(
        self,
        store: Store,
        receipts: Sequence[Receipt],
        renamed: Mapping[str, str] = MappingProxyType({}),
        later: Mapping[str, Sequence[Receipt]] = MappingProxyType({}),
        digests: Mapping[str, Digest] = MappingProxyType({}),
        roots: Roots = MappingProxyType({}),
    ) -> None:
        self.store = store
        self.renamed = renamed
        self._roots = roots
        self.groups: dict[bytes, Held] = {}
        self.chunks: list[Chunk] = []
        self._signed: set[int] = set()
        self._later = later
        self._entries = lru_cache(RECENT)(self._read_entries)
        self._rejected = lru_cache(RECENT)(self._read_rejected)
        names = Names()
        reads = (partial(self._read, receipt, digests.get(receipt.fingerprint)) for receipt in receipts)
        for number, (chunk, groups) in enumerate(read_ahead(reads)):
            self.chunks.append(chunk)
            first = 0
            for group in groups:
                self.groups[names.name(group.identity)] = Held(number, first, group.entries, group.stated, group.bad)
                first += group.entries

    def _read(self, receipt: Receipt, known: Digest | None) -> tuple[Chunk, list[GroupDigest]]:
        if known is not None and not self.renamed:
            listing, groups = listing_of(known.listing), known.unpacked()
        else:
            lines = [json.loads(line) for line in self._read_entries(receipt.fingerprint)]
            listing = read_listing(self.store, receipt.fingerprint)
            groups = list(digests_of(lines, self.renamed, self._roots))
        signatures: list[Signature | None] = (
            listing.signatures if listing else [None] * sum(group.entries for group in groups)
        )
        chunk = Chunk(receipt, signatures, older=listing is None, rights=listing is not None and listing.rights)
        return chunk, groups

    def _read_entries(self, fingerprint: str) -> list[str]:
        return self.store.get(entries_path(fingerprint)).decode().split("\n")

    def entries(self, chunk: Chunk) -> list[str]:
        """The lines of a work unit."""
        return self._entries(chunk.receipt.fingerprint)

    def lines(self, held: Held) -> list[str]:
        """The lines of a group."""
        return self.entries(self.chunks[held.chunk])[held.first : held.end]

    def lines_by_name(self, held: Held) -> dict[str, Line]:
        """The lines of a group by the names that their entries have now, in order."""
        lines = [json.loads(line) for line in self.lines(held)]
        return {self._name(line): line for line in lines}

    def files(self, held: Held) -> dict[str, tuple[str, Signature | None]]:
        """URI and signature of each file of a group, by the names that their entries have now."""
        pairs = zip(self.lines(held), self.signatures(held), strict=True)
        lines = [(json.loads(line), signature) for line, signature in pairs]
        return {
            self._name(line): (line["item"]["uri"], signature) for line, signature in lines if line["item"].get("uri")
        }

    def renamed_lines(self, held: Held) -> list[Line]:
        """The lines of a group with the names that its entries have now, and with their old keys."""
        return [self._renamed(json.loads(line)) for line in self.lines(held)]

    def new_name(self, name: str | None) -> str | None:
        """The id that an utterance or entry of the version has now; None if it has none."""
        new = None if name is None else self.renamed.get(name.partition("/")[0])
        return name if name is None or new is None else under(name, new)

    def _renamed(self, line: Line) -> Line:
        entry = renamed_entry(from_line(line), self.renamed)
        named = {"dataset": entry.dataset, "utterance_id": entry.utterance_id}
        return {**line, "item": {**line["item"], **named}}

    def _name(self, line: Line) -> str:
        return name_of(asdict(renamed_entry(from_line(line), self.renamed)))

    def rejects(self, held: Held, line: Line) -> bool:
        """Return whether the version rejects an entry of a group.

        Raises:
            StorageError: the store does not answer.
        """
        return line["kind"] == "bad" or line["key"] in self._rejected(held.chunk)

    def _read_rejected(self, number: int) -> set[str]:
        """Keys of the entries of a work unit that were rejected in any step."""
        receipt = self.chunks[number].receipt
        keys = rejected_keys(self.store, (receipt, *self._later.get(receipt.fingerprint, ())))
        return {key.hex() for key in keys}

    def signatures(self, held: Held) -> list[Signature | None]:
        """The signatures of a group, as of the last look at its files; None = unknown or no file."""
        return self.chunks[held.chunk].signatures[held.first : held.end]

    def sign(self, held: Held, signatures: Sequence[Signature | None]) -> None:
        """Note the signatures of files whose contents are those that the version holds."""
        self.chunks[held.chunk].signatures[held.first : held.end] = signatures
        self._signed.add(held.chunk)

    def put_signed(self) -> None:
        """Write the noted signatures of the work units that stay.

        Raises:
            StorageError: the store refuses.
        """
        for chunk in (self.chunks[number] for number in sorted(self._signed)):
            if not chunk.changed:
                put_listing(self.store, chunk.receipt.fingerprint, Listing(chunk.signatures, chunk.rights))

    def checksums(self, chunk: Chunk) -> dict[str, str]:
        """Known checksums of the audio of the rows and rejects of a work unit, by the keys of their lines."""
        found = dict(statistics_of(chunk.receipt).get("rejected", {}))
        for file in (file for file in chunk.receipt.files if file.table == "utterances"):
            table = read_table(self.store, file.path, ["source_key", "checksum"])
            pairs = zip(table["source_key"].to_pylist(), table["checksum"].to_pylist(), strict=True)
            found |= {key.hex(): checksum for key, checksum in pairs if checksum}
        return found

    def replaced(self, chunk: Chunk) -> Lines:
        """The lines and signatures of a work unit after its changes."""
        old = self.entries(chunk)
        lines: list[str] = []
        signed: list[Signature | None] = []
        position = 0
        for held, new in sorted(chunk.changed.items(), key=lambda change: change[0].first):
            lines += old[position : held.first]
            signed += chunk.signatures[position : held.first]
            if new is not None:
                lines += new.lines
                signed += new.signatures
            position = held.end
        return Lines([*lines, *old[position:]], [*signed, *chunk.signatures[position:]], chunk.rights)

    def groups_after(self, chunk: Chunk) -> Iterator[Lines]:
        """Yield the groups of a work unit after its changes."""
        made = self.replaced(chunk)
        for first, group in _groups([json.loads(line) for line in made.lines]):
            end = first + len(group)
            yield Lines(made.lines[first:end], made.signatures[first:end], made.rights)


def name_of(item: Mapping[str, Any]) -> str:
    """Id of an entry, by which it is known within its group; for a broken entry without one its place."""
    return item.get("utterance_id") or item["source"]


def rejected_keys(store: Store, receipts: Iterable[Receipt]) -> Iterator[bytes]:
    """Yield the key of each reject of these work units; missing and damaged files are passed over.

    Raises:
        StorageError: the store does not answer.
    """
    files = [file for receipt in receipts for file in receipt.files if file.table == "rejects"]
    for keys in read_ahead(partial(_keys, store, file.path) for file in files):
        yield from (key for key in keys if key is not None)


def _keys(store: Store, path: str) -> list[bytes | None]:
    try:
        return read_table(store, path, ["source_key"])["source_key"].to_pylist()
    except (NotFound, CorruptStore):
        return []


def later_receipts(steps: Receipts) -> dict[str, list[Receipt]]:
    """Receipts of the later steps for the rows of each work unit of `ingest`, by its fingerprint.

    These steps have one work unit for each file of utterances, in their order.
    """
    of_files = [receipt.fingerprint for receipt in steps.get("ingest", ()) for _ in utterance_files([receipt])]
    found: dict[str, list[Receipt]] = {}
    for step, receipts in steps.items():
        if step != "ingest" and len(receipts) == len(of_files):
            for name, receipt in zip(of_files, receipts, strict=True):
                found.setdefault(name, []).append(receipt)
    return found


def put_entries(store: Store, fingerprint: str, made: Lines) -> str:
    """Write the entries of a work unit, so that neither the driver nor Ray holds them; return their path.

    Raises:
        StorageError: the store refuses.
    """
    path = entries_path(fingerprint)
    put_listing(store, fingerprint, Listing([*made.signatures], made.rights))
    with suppress(AlreadyExists):
        store.create(path, "\n".join(made.lines).encode())
    return path


def read_listing(store: Store, fingerprint: str) -> Listing | None:
    """Read what is known of the listing of a work unit; None if no program of today planned it.

    Raises:
        StorageError: the store does not answer.
    """
    try:
        return listing_of(json.loads(store.get(signatures_path(fingerprint))))
    except NotFound:
        return None


def listing_of(values: Mapping[str, Any]) -> Listing:
    """The listing of a work unit, from the values of its file."""
    signatures: list[Signature | None] = [None if pair is None else (pair[0], pair[1]) for pair in values["signatures"]]
    return Listing(signatures, values.get("rights", False))


def put_listing(store: Store, fingerprint: str, listing: Listing) -> None:
    """Write what is known of the listing of a work unit.

    Raises:
        StorageError: the store refuses.
    """
    rights = {"rights": True} if listing.rights else {}
    store.put(signatures_path(fingerprint), to_json({"signatures": listing.signatures, **rights}))


def _groups(lines: Sequence[Line]) -> Iterator[tuple[int, Sequence[Line]]]:
    """Yield the position of the first line, and the lines of each group."""
    first = 0
    for group in entry_dialogues(from_line(line) for line in lines):
        yield first, lines[first : first + len(group)]
        first += len(group)
