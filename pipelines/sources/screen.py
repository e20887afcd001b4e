"""Keep suppressed speech out of a build: by ids and contents, without a look at the audio where that suffices."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.readers.base import Item
from pipelines.readers.parquet_audio import is_parquet_uri
from pipelines.records import UtteranceRow
from pipelines.sources.audio_files import contents
from pipelines.sources.entries import Entry, Group, signature
from pipelines.sources.holdings import Chunk, Held, Holdings, Line, Lines
from storage.suppression.lists import digest_of
from storage.suppression.merged import Suppression
from storage.tables import read_table

RowsOf = Callable[[Item], Sequence[UtteranceRow]]
"""Utterances of an entry: none if it is unusable, one, or one for each channel."""
Channels = tuple[int, ...]


@dataclass
class Screen:
    """Leaves suppressed entries out of the listings of sources and of what a version holds.

    Attributes:
        suppression: what is suppressed.
        rows_of: reads the audio of an entry.
        left_out: digests of the ids of entries that were left out, or lost some of their channels.
    """

    suppression: Suppression
    rows_of: RowsOf
    left_out: set[str] = field(default_factory=set[str])

    def named(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries of a source whose ids are not suppressed."""
        if not self.suppression.ids:
            yield from entries
            return
        for entry in entries:
            if entry.utterance_id and (name := digest_of(entry.utterance_id)) in self.suppression.ids:
                self.left_out.add(name)
            else:
                yield entry

    def heard(self, group: Group) -> Group:
        """The group without entries and channels whose audio is suppressed; only audio that may be is read.

        Raises:
            Unreachable: a server does not answer.
        """
        candidates = [entry for entry in group.entries if self._may_be(entry)]
        if not candidates:
            return group
        sums = dict(zip(map(id, candidates), contents(candidates), strict=True))
        entries: list[Entry] = []
        without: dict[int, Channels] = {}
        for entry in group.entries:
            gone, all_gone = self._channels(entry, sums.get(id(entry)))
            if gone and not all_gone:
                without[len(entries)] = gone
            if not all_gone:
                entries.append(entry)
        return group._replace(entries=entries, without=without)

    def _may_be(self, entry: Entry) -> bool:
        if not isinstance(entry, Item) or entry.uri is None:
            return False
        if digest_of(entry.utterance_id) in self.suppression.split:
            return True
        if not self.suppression.audios:
            return False
        size = file_size(entry)
        return size is None or self.suppression.any_size or size in self.suppression.sizes

    def _channels(self, entry: Entry, checksum: str | None) -> tuple[Channels, bool]:
        """The suppressed channels of an entry, and whether no other is left."""
        if checksum is None or not isinstance(entry, Item):
            return (), False
        known = digest_of(checksum) in self.suppression.audios
        if not known and digest_of(entry.utterance_id) not in self.suppression.split:
            return (), False
        rows = self.rows_of(entry)
        gone = [row for row in rows if self.hits(row)]
        self.left_out |= {digest_of(entry.utterance_id)} if gone else set()
        return tuple(row.get("channel") or 0 for row in gone), bool(rows) and len(gone) == len(rows)

    def hits(self, row: UtteranceRow) -> bool:
        """Whether an utterance is suppressed, by its id or by its content."""
        return digest_of(row["utterance_id"]) in self.suppression.ids or content_of(row) in self.suppression.contents

    def clear(self, holdings: Holdings) -> None:
        """Take what is suppressed out of what a version holds; no source is read.

        Raises:
            StorageError: a list of entries or a table cannot be read.
        """
        by_chunk: dict[int, dict[bytes, Held]] = {}
        for name, held in holdings.groups.items():
            by_chunk.setdefault(held.chunk, {})[name] = held
        for number, groups in by_chunk.items():
            self._clear_chunk(holdings, holdings.chunks[number], groups)

    def _clear_chunk(self, holdings: Holdings, chunk: Chunk, groups: Mapping[bytes, Held]) -> None:
        hits = self._hits_of(holdings, chunk)
        for name, held in groups.items():
            old, signatures = holdings.lines(held), holdings.signatures(held)
            new = [self._cleared(json.loads(line), line, hits) for line in old]
            if new == old:
                continue
            self.left_out |= {_name(before) for line, before in zip(new, old, strict=True) if line != before}
            lines = [line for line in new if line is not None]
            signed = [mark for line, mark in zip(new, signatures, strict=True) if line is not None]
            chunk.changed[held] = Lines(lines, signed, chunk.rights) if lines else None
            if not lines:
                del holdings.groups[name]

    def _hits_of(self, holdings: Holdings, chunk: Chunk) -> dict[str, list[UtteranceRow]]:
        """Utterances of a work unit by the keys of their entries; only of entries of which one is suppressed."""
        rows: dict[str, list[UtteranceRow]] = {}
        for file in (file for file in chunk.receipt.files if file.table == "utterances"):
            for row in read_table(holdings.store, file.path, IDENTITY, ["channel"]).to_pylist():
                rows.setdefault(row["source_key"].hex(), []).append(row)
        return {key: found for key, found in rows.items() if any(map(self.hits, found))}

    def _cleared(self, line: Line, text: str, hits: Mapping[str, Sequence[UtteranceRow]]) -> str | None:
        """The line of an entry without its suppressed channels; None if nothing is left."""
        name = line["item"].get("utterance_id")
        if name and digest_of(name) in self.suppression.ids:
            return None
        rows = hits.get(line["key"], ())
        if not rows:
            return text
        gone = [row.get("channel") or 0 for row in rows if self.hits(row)]
        if len(gone) == len(rows):
            return None
        return json.dumps({**line, "without": sorted({*line.get("without", ()), *gone})}, sort_keys=True)


IDENTITY = ["utterance_id", "source_key", "checksum", "offset_samples", "num_samples"]
"""Columns by which an utterance is recognised, besides its channel."""


def _name(line: str) -> str:
    return digest_of(json.loads(line)["item"]["utterance_id"])


def content_of(row: UtteranceRow) -> str | None:
    """Digest of the content of an utterance; None of a written turn."""
    if row["checksum"] is None:
        return None
    return digest_of(row["checksum"], row["offset_samples"], row["num_samples"], row.get("channel"))


def file_size(entry: Entry) -> int | None:
    """Bytes of the file of an entry's audio; None if unknown, or if the audio lies inside a table."""
    if not isinstance(entry, Item) or entry.uri is None or is_parquet_uri(entry.uri):
        return None
    found = signature(entry)
    return found and found[0]
