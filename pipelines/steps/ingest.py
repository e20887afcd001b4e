"""Step 1: list the sources, read the headers, check, normalise the text: -> utterances, rejects.

Planning is append-only. What a version of the corpus already holds (or has rejected) is left alone; new items are cut
into chunks in the order of their source, and each chunk becomes utterance files of about half an hour: the work units
of all later steps. The dialogue is never cut.
"""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.step import Output, Payload, Reject, Step, Task
from pipelines.readers.base import BadItem, Item, Reader, digest16, read_source
from pipelines.steps.audio_files import FileFacts
from storage.manifests import Manifest
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.errors import AudioError
from unitlang.frames import HUBERT_GRID, SAMPLE_RATE

SPEED = 2_000.0
"""Rough seconds of audio that one core ingests in a second: headers and checksums."""
ROUNDING = SAMPLE_RATE // 10
"""Manifests round durations; a segment that ends at most 0.1 s behind the audio's end ends with it."""
GUESSED_SECONDS_PER_ITEM = 10.0
"""For the progress bar only: nothing is known of an item's length before its header is read."""

Entry = Item | BadItem
Dialogue = tuple[str, str]
"""Dataset and dialogue id."""


class WorkUnitsConfig(BaseModel):
    """How utterances are grouped; part of every fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    minutes: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Audio in one work unit, in minutes; an utterance that is longer is a work unit of its own."""
    items: int = Field(default=1024, ge=1)
    """Entries of a source whose headers are read as one work unit of `ingest`."""


@dataclass(frozen=True)
class WorkUnit:
    """A fixed, ordered group of utterances: one file of the `utterances` table.

    Attributes:
        path: the file in the store.
        sha256: its checksum, which names its contents in later fingerprints.
        rows: utterances in it.
        seconds: seconds of audio.
    """

    path: str
    sha256: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class Ingest(Step):
    """Items -> utterances.

    Attributes:
        minutes: audio in a work unit.
    """

    name: ClassVar[str] = "ingest"
    revision: ClassVar[int] = 2
    minutes: float

    def open(self, store: Store) -> Callable[[Payload], Output]:
        """See `Step.open`."""

        def process(payload: Payload) -> Output:
            entries = [json.loads(line) for line in store.get(payload["path"]).splitlines()]
            return ingest_entries(entries, self.minutes)

        return process


def ingest_entries(entries: Sequence[dict[str, Any]], minutes: float) -> Output:
    """Utterances and rejects of one chunk of planned entries."""
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    facts = FileFacts()
    for entry in entries:
        key = bytes.fromhex(entry["key"])
        if entry["kind"] == "bad":
            bad = BadItem(**entry["item"])
            rejects.append(Reject(bad.dataset, bad.source, bad.reason, bad.message, bad.utterance_id, key))
            continue
        item = Item(**entry["item"])
        try:
            rows.append(utterance_row(item, key, facts))
        except AudioError as error:
            source = item.uri or item.utterance_id
            rejects.append(Reject(item.dataset, source, error.reason, error.message, item.utterance_id, key))
    groups = list(cut(rows, minutes))
    tables = [("utterances", pa.Table.from_pylist(group, SCHEMAS["utterances"])) for group in groups]
    stats = {
        "seconds": [sum(row["num_samples"] for row in group) / SAMPLE_RATE for group in groups],
        "datasets": dataset_totals(rows),
    }
    return Output(tables, len(entries), len(rows), rejects, stats)


def utterance_row(item: Item, key: bytes, facts: FileFacts) -> dict[str, Any]:
    """A row of the `utterances` table.

    Raises:
        AudioError: when the audio cannot be an utterance.
    """
    row = asdict(item)
    uri, _ = row.pop("uri"), row.pop("size")
    row |= {"text": normalise_text(item.text), "source_key": key}
    if uri is None:
        return row | {"audio": None, "num_samples": 0, "sample_rate": None, "checksum": None}
    file = facts(uri)
    rest = file.num_samples - item.offset_samples
    length = rest if item.num_samples is None or 0 < item.num_samples - rest <= ROUNDING else item.num_samples
    if length <= 0 or item.offset_samples + length > file.num_samples:
        seconds = file.num_samples / SAMPLE_RATE
        fault = f"{_segment(item)} is empty or lies outside the audio, which is {seconds:.3f} s long"
        raise AudioError("bad_segment", fault, uri)
    if HUBERT_GRID.num_frames(length) == 0:
        raise AudioError("too_short", f"{length} samples at 16 kHz; one frame needs {HUBERT_GRID.view}", uri)
    audio = {"uri": uri, "bytes": None}
    return row | {
        "audio": audio,
        "num_samples": length,
        "sample_rate": file.sample_rate,
        "checksum": file.checksum,
    }


def _segment(item: Item) -> str:
    start = item.offset_samples / SAMPLE_RATE
    if item.num_samples is None:
        return f"the segment from {start:.3f} s on"
    return f"the segment from {start:.3f} s to {start + item.num_samples / SAMPLE_RATE:.3f} s"


def normalise_text(text: str | None) -> str | None:
    """Unicode NFC, control characters and runs of white space as one space; None where nothing is left."""
    if text is None:
        return None
    plain = "".join(" " if unicodedata.category(c) == "Cc" else c for c in unicodedata.normalize("NFC", text))
    return " ".join(plain.split()) or None


def cut(rows: Iterable[dict[str, Any]], minutes: float) -> Iterator[list[dict[str, Any]]]:
    """Consecutive rows in groups of at most `minutes` of audio, or one dialogue or utterance where that is longer."""
    limit = int(minutes * 60 * SAMPLE_RATE)
    group: list[dict[str, Any]] = []
    samples = 0
    for dialogue in dialogues(rows):
        length = sum(row["num_samples"] for row in dialogue)
        if group and samples + length > limit:
            yield group
            group, samples = [], 0
        group += dialogue
        samples += length
    if group:
        yield group


def dialogues(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The turns of each dialogue together; single utterances alone."""
    current: list[dict[str, Any]] = []
    for row in rows:
        if current and (not same_dialogue(row, current[-1])):
            yield current
            current = []
        current.append(row)
    if current:
        yield current


def same_dialogue(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows are turns of one dialogue; its id is unique within the dataset only."""
    return row["dialogue_id"] is not None and all(row[name] == other[name] for name in ("dataset", "dialogue_id"))


def dataset_totals(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Utterances with audio and their samples at 16 kHz, by dataset."""
    totals: dict[str, dict[str, int]] = defaultdict(lambda: {"utterances": 0, "samples": 0})
    for row in rows:
        if row["audio"] is not None:
            totals[row["dataset"]]["utterances"] += 1
            totals[row["dataset"]]["samples"] += row["num_samples"]
    return dict(totals)


class Known:
    """What the corpus holds already: keys of its entries and digests of its utterance ids, 16 bytes each."""

    def __init__(self, store: Store, parent: Manifest | None) -> None:
        self.keys: set[bytes] = set()
        self.ids: set[bytes] = set()
        for file in parent.files("utterances", step="ingest") if parent else ():
            table = read_table(store, file.path, ["utterance_id", "source_key"])
            self.keys.update(table["source_key"].to_pylist())
            self.ids.update(digest16(name) for name in table["utterance_id"].to_pylist())
        for file in parent.files("rejects", step="ingest") if parent else ():
            self.keys.update(read_table(store, file.path, ["source_key"])["source_key"].to_pylist())

    def admit(self, dialogue: Sequence[Entry]) -> dict[bytes, Entry]:
        """The new entries of a dialogue (or one single entry) by key; all are rejects where one's id is taken.

        What the corpus has is left out.
        """
        new = {key: entry for entry in dialogue if (key := entry.key()) not in self.keys}
        self.keys.update(new)
        if any(entry.utterance_id and digest16(entry.utterance_id) in self.ids for entry in new.values()):
            return {key: _duplicate(entry) if isinstance(entry, Item) else entry for key, entry in new.items()}
        self.ids.update(digest16(entry.utterance_id) for entry in new.values() if isinstance(entry, Item))
        return new


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


def plan(store: Store, step: Ingest, sources: Sequence[Reader], parent: Manifest | None, chunk: int) -> Iterator[Task]:
    """Tasks for all entries of the sources that the parent version does not know.

    The entries of a chunk are written to the store, so that neither the driver nor Ray carries them.
    """
    known = Known(store, parent)
    for position, source in enumerate(sources):
        for lines in chunks(fresh_entries(read_source(source, position), known), chunk):
            data = "\n".join(lines).encode()
            name = fingerprint(step.name, step.revision, asdict(step), lines)
            path = f"data/items/{name}.jsonl"
            if not store.exists(path):
                store.put(path, data)
            yield Task(name, {"path": path}, GUESSED_SECONDS_PER_ITEM * len(lines))


def fresh_entries(entries: Iterable[Entry], known: Known) -> Iterator[tuple[Dialogue | None, str]]:
    """Dialogue and JSON line of each entry that is new."""
    for group in entry_dialogues(entries):
        for key, entry in known.admit(group).items():
            kind = "bad" if isinstance(entry, BadItem) else "item"
            line = {"kind": kind, "key": key.hex(), "item": asdict(entry)}
            yield dialogue_of(entry), json.dumps(line, sort_keys=True)


def entry_dialogues(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Consecutive entries of one dialogue together, single entries alone.

    An id that comes again starts another dialogue, of the same name by mistake.
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
    """What dialogue an entry is a turn of; its id is unique within the dataset only."""
    return None if entry.dialogue_id is None else (entry.dataset, entry.dialogue_id)


def chunks(entries: Iterable[tuple[Dialogue | None, str]], size: int) -> Iterator[list[str]]:
    """Lists of at least `size` lines (but the last) that cut no dialogue."""
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


if __name__ == "__main__":
    from pipelines.main import run_step

    run_step("ingest")
