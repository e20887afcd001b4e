"""Entries of sources that a corpus does not hold yet, in chunks that cut no dialogue."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pipelines.readers.base import BadItem, Item, digest16
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version

Entry = Item | BadItem
Dialogue = tuple[str, str]
"""Dataset and dialogue id."""


class Known:
    """Keys of the entries and digests of the utterance ids that a corpus holds, 16 bytes each.

    `keys` maps each key to the number of the last source that listed it; 0 = none yet.

    Args:
        store: the corpus.
        parent: the version to read; None for an empty corpus.

    Raises:
        StorageError: a file of the version cannot be read.
    """

    def __init__(self, store: Store, parent: Version | None) -> None:
        self.keys: dict[bytes, int] = {}
        self.source = 1
        self.copies: Counter[bytes] = Counter()
        self.ids: set[bytes] = set()
        for file in parent.files("utterances", step="ingest") if parent else ():
            table = read_table(store, file.path, ["utterance_id", "source_key"])
            self.keys.update(dict.fromkeys(table["source_key"].to_pylist(), 0))
            self.ids.update(digest16(name) for name in table["utterance_id"].to_pylist())
        for file in parent.files("rejects", step="ingest") if parent else ():
            self.keys.update(dict.fromkeys(read_table(store, file.path, ["source_key"])["source_key"].to_pylist(), 0))

    def next_source(self) -> None:
        """Say that the entries of another source follow: what it lists may be what an earlier one listed."""
        self.source += 1
        self.copies.clear()

    def admit(self, dialogue: Sequence[Entry]) -> dict[bytes, Entry]:
        """Register the new entries of a dialogue, or one single entry; return them by key.

        Entries that the corpus or an earlier source has are left out. An entry that its source lists again becomes a
        reject with a key of its own. If the id of one new entry is taken, all become rejects.
        """
        new: dict[bytes, Entry] = {}
        for entry in dialogue:
            key = entry.key()
            again = self.keys.get(key) == self.source
            if again:
                key = self._next_key(key)
            if key not in self.keys:
                new[key] = _duplicate(entry) if again and isinstance(entry, Item) else entry
            self.keys[key] = self.source
        if any(entry.utterance_id and digest16(entry.utterance_id) in self.ids for entry in new.values()):
            return {key: _duplicate(entry) if isinstance(entry, Item) else entry for key, entry in new.items()}
        self.ids.update(digest16(entry.utterance_id) for entry in new.values() if isinstance(entry, Item))
        return new

    def _next_key(self, key: bytes) -> bytes:
        """Return the key of the next copy of an entry."""
        self.copies[key] += 1
        return digest16(f"{key.hex()} again, {self.copies[key]}")


def _duplicate(item: Item) -> BadItem:
    what = "entry" if item.dialogue_id is None else "turn of this dialogue"
    return BadItem(
        source=item.uri or item.utterance_id,
        dataset=item.dataset,
        reason="duplicate_id",
        message=f"another {what}, or the corpus with other contents, has this id; rename it, or build into a new store",
        utterance_id=item.utterance_id,
        dialogue_id=item.dialogue_id,
    )


def fresh_entries(entries: Iterable[Entry], known: Known) -> Iterator[tuple[Dialogue | None, str]]:
    """Yield dialogue and JSON line of each new entry of one source."""
    known.next_source()
    for group in entry_dialogues(entries):
        for key, entry in known.admit(group).items():
            kind = "bad" if isinstance(entry, BadItem) else "item"
            line = {"kind": kind, "key": key.hex(), "item": entry.stated()}
            yield dialogue_of(entry), json.dumps(line, sort_keys=True)


def entry_dialogues(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield the consecutive entries of each dialogue as one list, and each single entry as a list of one.

    A repeated utterance id starts another list: the source uses the name of the dialogue twice by mistake.
    """
    group: list[Entry] = []
    seen: set[str] = set()
    for entry in entries:
        dialogue, name = dialogue_of(entry), entry.utterance_id
        if group and (dialogue is None or dialogue != dialogue_of(group[-1]) or name in seen):
            yield group
            group, seen = [], set()
        group.append(entry)
        seen.update([name] if name else [])
    if group:
        yield group


def dialogue_of(entry: Entry) -> Dialogue | None:
    """The dialogue of an entry, if any; dialogue ids are unique only within a dataset."""
    return None if entry.dialogue_id is None else (entry.dataset, entry.dialogue_id)


def chunks(entries: Iterable[tuple[Dialogue | None, str]], size: int) -> Iterator[list[str]]:
    """Yield lists of at least `size` lines, except the last one, without splitting a dialogue."""
    lines: list[str] = []
    last: Dialogue | None = None
    for dialogue, line in entries:
        if len(lines) >= size and (dialogue is None or dialogue != last):
            yield lines
            lines = []
        lines.append(line)
        last = dialogue
    if lines:
        yield lines
