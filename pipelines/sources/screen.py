"""Keep suppressed speech out of a build: by ids and contents, without a look at the audio where that suffices."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.entries.entries import Entry, Group, at_place, from_line, remaining, signature
from pipelines.readers.base import Item
from pipelines.readers.parquet_audio import is_parquet_uri
from pipelines.records import UtteranceRow
from pipelines.sources.audio_files import contents
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

    def allows(self, entry: Entry) -> bool:
        """Whether the id of an entry of a source is not suppressed."""
        if entry.utterance_id and self.suppression.withdraws(entry.utterance_id):
            self.left_out.add(digest_of(entry.utterance_id))
            return False
        return True

    def heard(self, group: Group) -> Group:
        """The group without entries and channels whose audio is suppressed; only audio that may be is read.

        Raises:
            Unreachable: a server does not answer.
        """
        candidates = [entry for entry in group.entries if self._may_be(entry)]
        if not candidates:
            return group
        sums = dict(zip(map(id, candidates), contents(candidates), strict=True))
        heard = {id(entry): self._channels(entry, sums.get(id(entry))) for entry in group.entries}
        left = [gone for gone, all_gone in heard.values() if not all_gone]
        without = {position: gone for position, gone in enumerate(left) if gone}
        kept = remaining(group.entries, lambda entry: not heard[id(entry)][1])
        return group._replace(entries=kept, without=without)

    def _may_be(self, entry: Entry) -> bool:
        if not isinstance(entry, Item) or entry.uri is None:
            return False
        if self.suppression.splits(entry.utterance_id):
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
        if not known and not self.suppression.splits(entry.utterance_id):
            return (), False
        rows = self.rows_of(entry)
        gone = [row for row in rows if self.hits(row)]
        self.left_out |= {digest_of(entry.utterance_id)} if gone else set()
        return tuple(row.get("channel") or 0 for row in gone), bool(rows) and len(gone) == len(rows)

    def hits(self, row: UtteranceRow) -> bool:
        """Whether an utterance is suppressed, by its id or by its content."""
        return self.suppression.withdraws(row["utterance_id"]) or content_of(row) in self.suppression.contents

    def clear(self, holdings: Holdings) -> None:
        """Take what is suppressed out of what a version holds, by the ids that it has now; no source is read.

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
            named = (holdings.new_name(json.loads(line)["item"].get("utterance_id")) for line in old)
            new = placed([self._cleared(*pair, hits) for pair in zip(named, old, strict=True)])
            if new == old:
                continue
            self.left_out |= {_name(before) for line, before in zip(new, old, strict=True) if _lost(line, before)}
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
                row["utterance_id"] = holdings.new_name(row["utterance_id"])
                rows.setdefault(row["source_key"].hex(), []).append(row)
        return {key: found for key, found in rows.items() if any(map(self.hits, found))}

    def _cleared(self, name: str | None, text: str, hits: Mapping[str, Sequence[UtteranceRow]]) -> str | None:
        """The line of an entry, of this id now, without its suppressed channels; None if nothing is left."""
        if name and self.suppression.withdraws(name):
            return None
        line: Line = json.loads(text)
        rows = hits.get(line["key"], ())
        if not rows:
            return text
        gone = [row.get("channel") or 0 for row in rows if self.hits(row)]
        if len(gone) == len(rows):
            return None
        return json.dumps({**line, "without": sorted({*line.get("without", ()), *gone})}, sort_keys=True)


IDENTITY = ["utterance_id", "source_key", "checksum", "offset_samples", "num_samples"]
"""Columns by which an utterance is recognised, besides its channel."""


def placed(lines: Sequence[str | None]) -> list[str | None]:
    """The lines of a group of which some went (None), as those that a listing without these makes; see `remaining`."""
    gone = 0
    found: list[str | None] = []
    for position, line in enumerate(lines):
        gone += line is None
        found.append(_at_place(line, position) if line is not None and gone else line)
    return found


def _at_place(text: str, position: int) -> str:
    line = json.loads(text)
    before = from_line(line)
    entry = at_place(before, position)
    if entry is before or not isinstance(entry, Item):
        return text
    return json.dumps({**line, "item": {**line["item"], "place": entry.place}}, sort_keys=True)


def _lost(line: str | None, before: str) -> bool:
    """Whether an entry went, or lost channels."""
    return line is None or json.loads(line).get("without") != json.loads(before).get("without")


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
