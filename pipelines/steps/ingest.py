"""Step 1: list the sources, check the audio of each entry, normalise its text, and write utterances and rejects.

Entries are grouped into chunks in the order of their source, but segments of one file come together. Each chunk gives
utterance files of up to half an hour, which are the work units of all later steps. A dialogue is never split. In a
version that follows another one, chunks whose entries are the same stay (`pipelines.sources.following`).
"""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self, cast

from pydantic import Field

from pipelines.engine.build_step import Plan, TableStep
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.rejects import check_some_left
from pipelines.engine.state import BuildState, EntryChanges
from pipelines.engine.step import ADDED, Output, Process, Reject, WorkUnit, noted
from pipelines.entries.entries import KINDS, OF_THE_LISTING
from pipelines.entries.roots import Roots, absolute, roots_of
from pipelines.entries.turns import numbers
from pipelines.errors import UserError
from pipelines.readers.base import BadItem, Item
from pipelines.readers.rows.times import Segment
from pipelines.records import (
    Borders,
    IngestPayload,
    StepStatistics,
    UtteranceRow,
    count_datasets,
    selected,
    spoken_rows,
    statistics_of,
)
from pipelines.sources.audio_files import FileFacts
from pipelines.sources.cutting import cut
from pipelines.sources.digests import read_digests
from pipelines.sources.planning import Planner, clear, follow, left_out
from pipelines.sources.retries import Retries
from pipelines.sources.screen import Screen
from pipelines.sources.taking_over import TakenRows
from pipelines.sources.texts import read_texts
from pipelines.steps.sample import first_candidates
from storage.receipts import Receipt, entries_path
from storage.schemas import table_of
from storage.store import Store
from storage.suppression.lists import list_path
from storage.suppression.merged import Suppression
from storage.versions import Version
from unitlang.audio.playback import no_channel
from unitlang.config import FrozenConfig
from unitlang.errors import AudioError
from unitlang.frames import HUBERT_GRID, SAMPLE_RATE

SPEED = 2_000.0
"""Approximate seconds of audio that one core ingests per second: it reads headers and computes checksums."""
ROUNDING = SAMPLE_RATE // 10
"""Tolerance: manifests round durations, so a segment may end up to 0.1 s after its audio and is cut there."""
PADDING = SAMPLE_RATE // 2
"""Tolerance for whole files, 0.5 s, where it does not more than double the file: ffprobe and sox also count what
encoders put before and after the speech and no player plays (LAME: 0.2 s at 8 kHz, nearly as long as a digit)."""


class WorkUnitsConfig(FrozenConfig):
    """Grouping of utterances into work units; part of every fingerprint."""

    minutes: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Most audio in one work unit, in minutes; a longer utterance or half of a row group of Parquet gets its own."""
    items: int = Field(default=1024, ge=1)
    """Most entries of a source whose headers are read as one work unit of `ingest`."""


@dataclass(frozen=True)
class Ingest(TableStep[IngestPayload]):
    """Step from entries of sources to utterances.

    Attributes:
        minutes: audio in one work unit of the later steps, in minutes.
        min_samples: length of the shortest utterance that has a frame, in samples at 16 kHz.
    """

    name: ClassVar[str] = "ingest"
    revision: ClassVar[int] = 2
    after: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[str, ...]] = ("utterances",)
    minutes: float
    min_samples: int = field(default=HUBERT_GRID.view, metadata=ADDED)

    @classmethod
    def plan(cls, build: BuildState) -> Plan:
        """See `TableStep.plan`.

        Raises:
            UserError: a source cannot be read, or entries are gone that must not be.
        """
        step, config = cls.configured(build), build.config
        roots, store = roots_of(config.sources), build.session.store
        seeds = (config.quantizer.seed, config.unit_language.seed)
        planner = Planner(store, step.identity(), config.work_units.items, roots, seeds)
        suppression = Suppression.of(store)
        build.suppression = list(suppression.lists)
        _check_lists(build)
        screen = Screen(suppression.known_as(build.earlier_names), partial(rows_of, min_samples=step.min_samples))
        spec, *earlier = specs_of(step, config.work_units.items)
        same = build.matches_parent(cls.name, spec, earlier)
        anew = build.recomputes(cls.name)
        with build.session.console.status("listing the sources"):
            build.changes = cls._changes(build, planner, screen)
            keeps_rows = build.parent is not None and (same or keeps_rows_of(step, build.parent, anew=anew))
            if build.changes.gone and not keeps_rows:
                raise UserError(left_out(build.changes.gone, recompute=anew))
            work_units = [*(planner.changed() if same else planner.regrouped(keeps_rows)), *planner.new]
        build.taken = {unit.fingerprint: list(unit.payload.get("taken", ())) for unit in work_units}
        return Plan(step, work_units, SPEED, kept=planner.kept() if same else ())

    @classmethod
    def _changes(cls, build: BuildState, planner: Planner, screen: Screen) -> EntryChanges:
        """Plan what differs from the parent version."""
        if build.listed:
            retries, digests = Retries.of(build), read_digests(planner.store, build.parent)
            cleared = build.suppression == list(build.parent_suppression) and not _renames_withdrawn(build)
            steps = build.parent.steps if build.parent else {}
            following = follow(planner, build.config, steps, screen, retries, digests, cleared=cleared)
            build.gone, build.retried, changes = following.gone, following.retried, following.changes
        else:
            changes = clear(planner, build.parent_receipts(cls.name), screen)
        changes.suppressed = len(screen.left_out)
        return changes

    @classmethod
    def configured(cls, build: BuildState) -> Self:
        """The step with the settings of a build."""
        return cls(build.config.work_units.minutes, build.config.features.grid().view)

    @classmethod
    def stored_plan(cls, build: BuildState) -> Plan:
        """The plan of the work units that a version has, from the stored entries; the sources are not listed."""
        roots = roots_of(build.config.sources)
        work_units = [_stored_unit(receipt, roots) for receipt in build.steps[cls.name]]
        return Plan(cls.configured(build), work_units, SPEED)

    @classmethod
    def check(cls, build: BuildState) -> None:
        """See `TableStep.check`."""
        check_some_left(build.session.store, build.steps, cls.name)

    def open(self, store: Store) -> Process[IngestPayload]:
        """See `Step.open`."""

        def process(payload: IngestPayload) -> Output:
            lines = selected(_entries(store, payload), payload)
            taken = TakenRows.of(store, self.name, payload.get("taken", ()), payload.get("roots", {}))
            made = partial(ingest_entries, lines, self.minutes, self.min_samples, taken)
            return made(payload.get("seeds", ()), payload.get("borders"))

        return process

    def crash_rejects(self, store: Store, payload: IngestPayload) -> list[Reject]:
        """See `Step.crash_rejects`."""
        return [_crash_reject(entry) for entry in _entries(store, payload)]


def _stored_unit(receipt: Receipt, roots: Roots) -> WorkUnit[IngestPayload]:
    payload = IngestPayload(path=entries_path(receipt.fingerprint), roots=roots)
    if borders := statistics_of(receipt).get("borders"):
        payload["borders"] = borders
    return WorkUnit(receipt.fingerprint, payload, 0.0)


def _renames_withdrawn(build: BuildState) -> bool:
    """Whether the ids of withdrawn speech mean other datasets than in the parent version."""
    if not build.suppression or build.parent is None:
        return False
    return build.earlier_names != build.parent.lineage.get("renamed", {})


def _check_lists(build: BuildState) -> None:
    """Refuse to go on without a suppression list of the parent version."""
    if lost := sorted({*build.parent_suppression} - {*build.suppression}):
        raise UserError(
            f"{build.session.store.url(list_path(lost[0]))} is missing: the last version was made with this "
            "suppression list, and without it withdrawn speech would come back; restore it from a copy"
        )


def _entries(store: Store, payload: IngestPayload) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.get(payload["path"]).splitlines()]


def _crash_reject(entry: dict[str, Any]) -> Reject:
    item = entry["item"]
    source = item.get("source") or item.get("uri") or item["utterance_id"]
    return Reject(item["dataset"], source, "crashed", "", item.get("utterance_id"), bytes.fromhex(entry["key"]))


def ingest_entries(
    entries: Sequence[dict[str, Any]],
    minutes: float,
    min_samples: int,
    taken: TakenRows | None = None,
    seeds: Sequence[int] = (),
    borders: Borders | None = None,
) -> Output:
    """Ingest one chunk of planned entries.

    Args:
        entries: the lines of the chunk.
        minutes: as in `Ingest`.
        min_samples: as in `Ingest`.
        taken: rows of entries that were ingested before.
        seeds: seeds of samples, for which the receipt names the speech that comes first.
        borders: as in `StepStatistics`.
    """
    taken = taken or TakenRows()
    rows: list[UtteranceRow] = []
    rejects: list[Reject] = []
    facts = FileFacts()
    keyed = [(bytes.fromhex(entry["key"]), KINDS[entry["kind"]](**entry["item"])) for entry in entries]
    renamed = {key: found for entry, (key, _) in zip(entries, keyed, strict=True) if (found := taken.renamed(entry))}
    known = taken.rows.keys() | taken.rejects.keys() | renamed.keys()
    unread = ((key, entry) for key, entry in keyed if isinstance(entry, Item) and key not in known)
    texts = read_texts(unread, taken.roots)
    for key, listed in keyed:
        entry = texts.get(key, listed)
        if isinstance(entry, BadItem):
            rejects.append(Reject(entry.dataset, entry.source, entry.reason, entry.message, entry.utterance_id, key))
        elif key in known:
            rows += taken.rows.get(key, renamed.get(key, ()))
            rejects += taken.rejects.get(key, ())
        else:
            _ingest_item(entry, key, taken.roots, facts, min_samples, rows, rejects)
    turns = numbers(entries, {reject.source_key for reject in rejects if reject.source_key})
    for row in rows:
        row["turn"] = turns.get(row["source_key"], row["turn"])
    rejected = dict(_rejected_files(entries, rejects, taken, facts))
    suppressed = suppressed_channels(entries)
    rows = [row for row in rows if row["utterance_id"] not in suppressed]
    rejects = [reject for reject in rejects if reject.utterance_id not in suppressed]
    groups = list(cut(rows, minutes, borders, taken.roots))
    tables = [("utterances", table_of(group, "utterances")) for group in groups]
    seconds = [sum(row["num_samples"] for row in group) / SAMPLE_RATE for group in groups]
    stats = StepStatistics(seconds=seconds, datasets=count_datasets(spoken_rows(rows)))
    said = _if_any(
        borders=borders,
        candidates=first_candidates(groups, seeds) if seeds else {},
        rejected=rejected,
        taken=taken.work_units,
    )
    return Output(tables, len(rows) + len(rejects), len(rows), rejects, cast("StepStatistics", {**stats, **said}))


def _if_any(**statistics: Any) -> dict[str, Any]:
    """The statistics that say something; receipts leave the others out."""
    return {name: value for name, value in statistics.items() if value}


def _rejected_files(
    entries: Sequence[dict[str, Any]], rejects: Sequence[Reject], taken: TakenRows, facts: FileFacts
) -> Iterator[tuple[str, str]]:
    """Yield the key of each rejected entry with an audio file, and the SHA-256 of that, by which a copy is known."""
    rejected = {reject.source_key for reject in rejects}
    for entry in entries:
        key, item = entry["key"], entry["item"]
        if bytes.fromhex(key) not in rejected or item.get("uri") is None:
            continue
        found = taken.contents.get(key)
        if found is None and bytes.fromhex(key) not in taken.rejects:
            found = facts.checksum(absolute(item["uri"], taken.roots.get(item["dataset"]), item["dataset"]))
        if found is not None:
            yield key, found


def suppressed_channels(entries: Iterable[dict[str, Any]]) -> set[str]:
    """Ids of the suppressed channels of entries of which other channels stay."""
    return {
        channel_id(entry["item"]["utterance_id"], channel) for entry in entries for channel in entry.get("without", ())
    }


def _ingest_item(
    stored: Item,
    key: bytes,
    roots: Roots,
    facts: FileFacts,
    min_samples: int,
    rows: list[UtteranceRow],
    rejects: list[Reject],
) -> None:
    """Add a row or a reject for each channel of an item; only its path from the root on is written."""
    root = roots.get(stored.dataset)
    located = stored if stored.uri is None else replace(stored, uri=absolute(stored.uri, root, stored.dataset))
    for item in per_channel(located, facts):
        try:
            with noted(f"utterance {item.utterance_id}, audio {item.uri or item.utterance_id}"):
                row = utterance_row(item, key, facts, min_samples)
        except AudioError as error:
            source = stored.uri or item.utterance_id
            message = error.message.replace(f"{root}/", "") if root else error.message
            rejects.append(Reject(item.dataset, source, error.reason, message, item.utterance_id, key))
        else:
            if row["audio"] is not None:
                row["audio"]["uri"] = stored.uri
            rows.append(row)


def per_channel(item: Item, facts: FileFacts) -> list[Item]:
    """Return an item for each channel of its file if it asks for `each`, otherwise the item itself.

    The ids end with `#channel0`, `#channel1`, ... The item of an unusable file stays one.
    """
    if item.channel != "each" or item.uri is None:
        return [item]
    try:
        channels = facts(item.uri).channels
    except AudioError:
        return [replace(item, channel=None)]
    return [
        replace(item, utterance_id=channel_id(item.utterance_id, channel), channel=channel)
        for channel in range(channels)
    ]


def channel_id(entry_id: str, channel: int) -> str:
    """Id of the utterance of one channel of an entry."""
    return f"{entry_id}#channel{channel}"


def rows_of(item: Item, min_samples: int) -> list[UtteranceRow]:
    """The utterances of an entry whose audio is where it says; none if the audio is unusable."""
    rows: list[UtteranceRow] = []
    _ingest_item(item, b"", {}, FileFacts(), min_samples, rows, [])
    return rows


def utterance_row(item: Item, key: bytes, facts: FileFacts, min_samples: int) -> UtteranceRow:
    """A row of the table `utterances`.

    Args:
        item: the entry, as its source describes it.
        key: digest of the entry.
        facts: cache of the facts of audio files.
        min_samples: length of the shortest accepted utterance, in samples at 16 kHz.

    Raises:
        AudioError: the audio is unusable or lacks the channel, or the segment is outside it or too short.
    """
    audio: dict[str, Any] = {"audio": None, "num_samples": 0, "sample_rate": None, "checksum": None}
    if item.uri is not None:
        file = facts(item.uri)
        item = at_16k(item, file.sample_rate)
        if isinstance(item.channel, int) and item.channel >= file.channels:
            raise AudioError("no_channel", no_channel(item.channel, file.channels), str(item.uri))
        audio = {
            "audio": {"uri": item.uri, "bytes": None},
            "num_samples": segment_length(item, file.num_samples, min_samples),
            "sample_rate": file.sample_rate,
            "checksum": file.checksum,
        }
    described = asdict(item)
    for name in OF_THE_LISTING:
        del described[name]
    described |= {"text": normalise_text(item.text), "source_key": key}
    return cast(UtteranceRow, described | audio)


def at_16k(item: Item, rate: int) -> Item:
    """Return the item with its segment in samples at 16 kHz; `rate` is that of its file, in Hz."""
    segment = Segment(item.offset_samples, item.num_samples, item.native).at_16k(rate)
    return replace(item, offset_samples=segment.offset, num_samples=segment.length, native=segment.native)


def segment_length(item: Item, file_samples: int, min_samples: int) -> int:
    """Length of an item's segment of an audio file; all lengths are in samples at 16 kHz.

    Raises:
        AudioError: the segment is empty, ends after the file, or is shorter than `min_samples`.
    """
    rest = file_samples - item.offset_samples
    tolerance = ROUNDING if item.offset_samples else max(ROUNDING, min(PADDING, file_samples))
    length = rest if item.num_samples is None or 0 < item.num_samples - rest <= tolerance else item.num_samples
    if length <= 0 or item.offset_samples + length > file_samples:
        seconds = file_samples / SAMPLE_RATE
        fault = f"{_segment(item)} is empty or lies outside the audio, which is {seconds:.3f} s long"
        raise AudioError("bad_segment", fault, str(item.uri))
    if length < min_samples:
        raise AudioError("too_short", f"{length} samples at 16 kHz; one frame needs {min_samples}", str(item.uri))
    return length


def _segment(item: Item) -> str:
    start = item.offset_samples / SAMPLE_RATE
    if item.num_samples is None:
        return f"the segment from {start:.3f} s on"
    return f"the segment from {start:.3f} s to {start + item.num_samples / SAMPLE_RATE:.3f} s"


def normalise_text(text: str | None) -> str | None:
    """Normalise to Unicode NFC, with one space for control characters and white space; None if nothing remains."""
    if text is None:
        return None
    plain = "".join(" " if unicodedata.category(c) == "Cc" else c for c in unicodedata.normalize("NFC", text))
    return " ".join(plain.split()) or None


def keeps_rows_of(step: Ingest, parent: Version, *, anew: bool) -> bool:
    """Return whether the rows of a version are those of this step, although it groups them in another way.

    Args:
        step: the configured step.
        parent: the version.
        anew: rows of earlier revisions of the step do not count.
    """
    minutes, items = (parent.config["work_units"][name] for name in ("minutes", "items"))
    specs = specs_of(replace(step, minutes=minutes), items)
    return parent.lineage["specs"].get(step.name) in (specs[:1] if anew else specs)


def specs_of(step: Ingest, items: int) -> list[str]:
    """Fingerprints of the configuration of this step and its earlier revisions; `items` is the size of a chunk."""
    return [fingerprint(*identity, items) for identity in (step.identity(), *step.earlier_identities())]
