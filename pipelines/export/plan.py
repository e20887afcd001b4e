"""Division of a version into shards of bounded size; it depends only on the version and on the size."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from pipelines.export.names import split_names
from pipelines.reading import read_ahead
from pipelines.records import utterance_files
from storage.receipts import Receipt
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version
from unitlang.frames import SAMPLE_RATE

MOST_ATTRIBUTIONS = 200
"""Attributions that a card lists; the rows have all."""


@dataclass(frozen=True)
class WorkUnitFiles:
    """Paths of the tables of one work unit in the store."""

    utterances: str
    units: str
    words: str


@dataclass(frozen=True)
class Piece:
    """The utterances `start` to `stop`, counted from 0, among those of one split that a work unit exports."""

    tables: WorkUnitFiles
    splits: frozenset[str | None]
    start: int
    stop: int


@dataclass(frozen=True)
class Shard:
    """Consecutive utterances of one split.

    Attributes:
        split: safe name of the split.
        number: position among the shards of the split, from 0.
        count: number of shards of the split.
        pieces: its utterances, by work unit.
        samples: length in samples at 16 kHz.
    """

    split: str
    number: int
    count: int
    pieces: tuple[Piece, ...]
    samples: int

    @property
    def utterances(self) -> int:
        """Number of utterances."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / SAMPLE_RATE


@dataclass(frozen=True)
class Plan:
    """The shards of an export, and what is known of all their utterances.

    Attributes:
        shards: split by split.
        languages: samples by language; None: not known.
        licences: samples by licence; None: not known.
        attributions: whom the licences want named, sorted; at most `MOST_ATTRIBUTIONS` and one more.
        left_out: utterances that are not exported, by reason: `written` (a turn without audio), `rejected`.
    """

    shards: tuple[Shard, ...]
    languages: dict[str | None, int]
    licences: dict[str | None, int]
    attributions: tuple[str, ...]
    left_out: dict[str, int]

    @property
    def seconds(self) -> float:
        """Length of all shards in seconds."""
        return sum(shard.samples for shard in self.shards) / SAMPLE_RATE


@dataclass(frozen=True)
class _Listed:
    """Facts of one work unit for the plan: split and samples of its exported utterances, in order."""

    tables: WorkUnitFiles
    rows: list[tuple[str | None, int]]
    languages: Counter[str | None] = field(default_factory=Counter[str | None])
    licences: Counter[str | None] = field(default_factory=Counter[str | None])
    attributions: set[str] = field(default_factory=set[str])
    left_out: Counter[str] = field(default_factory=Counter[str])


@dataclass
class _Draft:
    """The unfinished shards of a split."""

    splits: frozenset[str | None]
    limit: int
    done: list[tuple[tuple[Piece, ...], int]] = field(default_factory=list[tuple[tuple[Piece, ...], int]])
    pieces: list[Piece] = field(default_factory=list[Piece])
    samples: int = 0

    def add(self, tables: WorkUnitFiles, lengths: list[int]) -> None:
        """Add the utterances of a work unit by their samples; a shard ends before the one that exceeds the limit."""
        start = 0
        for position, length in enumerate(lengths):
            if self.samples and self.samples + length > self.limit:
                self._take(tables, start, position)
                self.end()
                start = position
            self.samples += length
        self._take(tables, start, len(lengths))

    def end(self) -> None:
        """End the shard, unless it is empty."""
        if self.pieces:
            self.done.append((tuple(self.pieces), self.samples))
        self.pieces, self.samples = [], 0

    def _take(self, tables: WorkUnitFiles, start: int, stop: int) -> None:
        if stop > start:
            self.pieces.append(Piece(tables, self.splits, start, stop))


def plan(store: Store, version: Version, shard_hours: float) -> Plan:
    """Divide the utterances with units of a version; memory grows with its work units.

    Args:
        store: the corpus.
        version: its version.
        shard_hours: audio of a shard at most, in hours, unless a single utterance is longer.

    Raises:
        StorageError: a table cannot be read.
    """
    listed = list(_listed(store, version))
    splits = split_names({split for work_unit in listed for split, _ in work_unit.rows})
    drafts: dict[str, _Draft] = {}
    for name in sorted(set(splits.values())):
        members = frozenset(split for split, given in splits.items() if given == name)
        drafts[name] = _Draft(members, round(shard_hours * 3600 * SAMPLE_RATE))
        for work_unit in listed:
            drafts[name].add(work_unit.tables, [samples for split, samples in work_unit.rows if split in members])
        drafts[name].end()
    shards = [shard for name, draft in drafts.items() for shard in _numbered(name, draft)]
    languages = sum((work_unit.languages for work_unit in listed), Counter[str | None]())
    licences = sum((work_unit.licences for work_unit in listed), Counter[str | None]())
    attributions = sorted({name for work_unit in listed for name in work_unit.attributions})[: MOST_ATTRIBUTIONS + 1]
    left_out = sum((work_unit.left_out for work_unit in listed), Counter[str]())
    return Plan(tuple(shards), dict(languages), dict(licences), tuple(attributions), dict(sorted(left_out.items())))


def _numbered(split: str, draft: _Draft) -> Iterator[Shard]:
    for number, (pieces, samples) in enumerate(draft.done):
        yield Shard(split, number, len(draft.done), pieces, samples)


def _listed(store: Store, version: Version) -> Iterator[_Listed]:
    steps = version.steps
    groups = zip(utterance_files(steps["ingest"]), steps["quantize"], steps["encode"], strict=True)
    tables = (
        WorkUnitFiles(file.path, _path(units, "units"), _path(words, "unit_language")) for file, units, words in groups
    )
    return read_ahead(partial(_list, store, each) for each in tables)


def _path(receipt: Receipt, table: str) -> str:
    (path,) = [file.path for file in receipt.files if file.table == table]
    return path


def _list(store: Store, tables: WorkUnitFiles) -> _Listed:
    columns = ["utterance_id", "split", "num_samples", "language", "checksum"]
    quantized = set(read_table(store, tables.units, ["utterance_id"])["utterance_id"].to_pylist())
    listed = _Listed(tables, [])
    for row in read_table(store, tables.utterances, columns, optional=("licence", "attribution")).to_pylist():
        if row["utterance_id"] in quantized:
            listed.rows.append((row["split"], row["num_samples"]))
            listed.languages[row["language"]] += row["num_samples"]
            listed.licences[row.get("licence")] += row["num_samples"]
            listed.attributions.update(filter(None, [row.get("attribution")]))
        else:
            listed.left_out["rejected" if row["checksum"] else "written"] += 1
    return listed
