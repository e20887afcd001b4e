"""The entries that a version holds: in which work unit of `ingest`, what they say, and how their files looked."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

from pipelines.readers.base import Item
from pipelines.steps.entries import Entry, Names, Signature, entry_dialogues, from_line, stated
from pipelines.steps.roots import Roots
from storage.errors import NotFound
from storage.receipts import Receipt
from storage.records import to_json
from storage.store import Store
from storage.tables import read_table
from unitlang.ahead import run_ahead

READERS = 16
"""Threads that read lists of entries."""
RECENT = 8
"""Lists of entries that stay in memory."""
Line = Mapping[str, Any]
"""Values of a line of a work unit of `ingest`."""


def entries_path(fingerprint: str) -> str:
    """Path of the entries of a work unit."""
    return f"data/items/{fingerprint}.jsonl"


def signatures_path(fingerprint: str) -> str:
    """Path of the signatures of the entries of a work unit; they change while entries and contents stay."""
    return f"data/listings/{fingerprint}.json"


@dataclass(frozen=True)
class Lines:
    """Lines of entries, and the signatures of their files."""

    lines: Sequence[str]
    signatures: Sequence[Signature | None]


@dataclass(frozen=True)
class Held:
    """Where a version holds a group of entries.

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
        changed: the new lines of a group, in the place of the old; None = none.
    """

    receipt: Receipt
    signatures: list[Signature | None]
    older: bool
    changed: dict[Held, Lines | None] = field(default_factory=dict["Held", "Lines | None"])


class Holdings:
    """The groups of entries of a version, by name.

    Args:
        store: the corpus.
        receipts: receipts of `ingest` of the version.
        renamed: new names of datasets by their names in the version; groups are named by the new ones.
        roots: roots of the datasets, by their new names.
        rejects: files of rejects by fingerprint of the work unit of `ingest` that their entries are in.

    Raises:
        StorageError: the lists of entries cannot be read.
    """

    def __init__(
        self,
        store: Store,
        receipts: Sequence[Receipt],
        renamed: Mapping[str, str] = MappingProxyType({}),
        roots: Roots = MappingProxyType({}),
        rejects: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.store = store
        self.renamed = renamed
        self.groups: dict[bytes, Held] = {}
        self.chunks: list[Chunk] = []
        self._signed: set[int] = set()
        self._entries = lru_cache(RECENT)(self._read_entries)
        self._rejects = rejects
        self._rejected = lru_cache(RECENT)(self._read_rejected)
        names = Names(roots)
        reads = (partial(self._read, receipt) for receipt in receipts)
        for number, (chunk, lines) in enumerate(run_ahead(reads, threads=READERS, depth=2 * READERS)):
            self.chunks.append(chunk)
            for first, group in _groups(lines):
                says = stated(line["item"] for line in group)
                bad = all(line["kind"] == "bad" for line in group)
                name = names.name(_renamed(from_line(group[0]), renamed))
                self.groups[name] = Held(number, first, len(group), says, bad)

    def _read(self, receipt: Receipt) -> tuple[Chunk, list[Line]]:
        lines = [json.loads(line) for line in self._read_entries(receipt.fingerprint)]
        signatures = read_signatures(self.store, receipt.fingerprint)
        return Chunk(receipt, signatures or [None] * len(lines), older=signatures is None), lines

    def _read_entries(self, fingerprint: str) -> list[str]:
        return self.store.get(entries_path(fingerprint)).decode().split("\n")

    def entries(self, chunk: Chunk) -> list[str]:
        """The lines of a work unit."""
        return self._entries(chunk.receipt.fingerprint)

    def lines(self, held: Held) -> list[str]:
        """The lines of a group."""
        return self.entries(self.chunks[held.chunk])[held.first : held.end]

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
                put_signatures(self.store, chunk.receipt.fingerprint, chunk.signatures)

    def checksums(self, chunk: Chunk) -> dict[str, str]:
        """Checksums of the audio of the rows of a work unit, by the keys of their lines."""
        found: dict[str, str] = {}
        for file in (file for file in chunk.receipt.files if file.table == "utterances"):
            table = read_table(self.store, file.path, ["source_key", "checksum"])
            pairs = zip(table["source_key"].to_pylist(), table["checksum"].to_pylist(), strict=True)
            found |= {key.hex(): checksum for key, checksum in pairs if checksum}
        return found

    def rejected(self, held: Held) -> int:
        """Number of entries of a group that are rejects."""
        keys = self._rejected(self.chunks[held.chunk].receipt.fingerprint)
        lines = [json.loads(line) for line in self.lines(held)]
        return sum(line["kind"] == "bad" or line["key"] in keys for line in lines)

    def _read_rejected(self, fingerprint: str) -> set[str]:
        paths = self._rejects.get(fingerprint, ())
        found = [
            key for path in paths for key in read_table(self.store, path, ["source_key"])["source_key"].to_pylist()
        ]
        return {key.hex() for key in found if key is not None}

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
        return Lines([*lines, *old[position:]], [*signed, *chunk.signatures[position:]])

    def groups_after(self, chunk: Chunk) -> Iterator[Lines]:
        """Yield the groups of a work unit after its changes."""
        made = self.replaced(chunk)
        for first, group in _groups([json.loads(line) for line in made.lines]):
            end = first + len(group)
            yield Lines(made.lines[first:end], made.signatures[first:end])


def _renamed(entry: Entry, renamed: Mapping[str, str]) -> Entry:
    """The entry with the new name of its dataset."""
    name = renamed.get(entry.dataset)
    if name is None:
        return entry
    if isinstance(entry, Item):
        return replace(entry, dataset=name, utterance_id=_with_dataset(entry.utterance_id, entry.dataset, name))
    utterance_id = entry.utterance_id and _with_dataset(entry.utterance_id, entry.dataset, name)
    return replace(entry, dataset=name, utterance_id=utterance_id)


def _with_dataset(utterance_id: str, old: str, new: str) -> str:
    return f"{new}/{utterance_id.removeprefix(f'{old}/')}"


def put_entries(store: Store, fingerprint: str, made: Lines) -> str:
    """Write the entries of a work unit, so that neither the driver nor Ray holds them; return their path.

    Raises:
        StorageError: the store refuses.
    """
    path = entries_path(fingerprint)
    put_signatures(store, fingerprint, made.signatures)
    if not store.exists(path):
        store.put(path, "\n".join(made.lines).encode())
    return path


def read_signatures(store: Store, fingerprint: str) -> list[Signature | None] | None:
    """Read the signatures of the entries of a work unit; None if no program of today planned it.

    Raises:
        StorageError: the store does not answer.
    """
    try:
        pairs = json.loads(store.get(signatures_path(fingerprint)))["signatures"]
    except NotFound:
        return None
    return [None if pair is None else (pair[0], pair[1]) for pair in pairs]


def put_signatures(store: Store, fingerprint: str, signatures: Sequence[Signature | None]) -> None:
    """Write the signatures of the entries of a work unit.

    Raises:
        StorageError: the store refuses.
    """
    store.put(signatures_path(fingerprint), to_json({"signatures": list(signatures)}))


def _groups(lines: Sequence[Line]) -> Iterator[tuple[int, Sequence[Line]]]:
    """Yield the position of the first line, and the lines of each group."""
    first = 0
    for group in entry_dialogues(from_line(line) for line in lines):
        yield first, lines[first : first + len(group)]
        first += len(group)
