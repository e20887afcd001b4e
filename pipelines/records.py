"""Types of the rows, payloads and statistics that steps exchange as JSON values or Parquet rows.

`storage.schemas` describes the tables. Names state whether lengths are in samples (at 16 kHz), frames or seconds.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypeVar, cast

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from storage.receipts import Receipt
from storage.records import typed
from storage.store import Store
from storage.suppression.names import Names, names_after
from storage.versions import REMEDY, Version, version_path

if TYPE_CHECKING:
    from pipelines.engine.pools.decoded import Decoded

Receipts = Mapping[str, Sequence[Receipt]]
"""Receipts by step."""
Borders = Literal["content"]
"""Rule by which `ingest` cuts utterances into files, if it is not that of older programs."""
T = TypeVar("T")


class Audio(TypedDict):
    """Location of encoded audio, or its bytes."""

    uri: str | None
    bytes: bytes | None


class UtteranceRow(TypedDict):
    """A row of the table `utterances`; the audio columns of an utterance without audio are 0 or None.

    Attributes:
        channel: of the audio, from 0; None or missing: all channels, mixed.
        licence: of the recording; None or missing: not known. So are attribution, consent and source_url.
    """

    utterance_id: str
    dataset: str
    split: str | None
    task: str
    audio: Audio | None
    offset_samples: int
    num_samples: int
    sample_rate: int | None
    language: str | None
    speaker_id: str | None
    text: str | None
    dialogue_id: str | None
    turn: int | None
    role: str | None
    checksum: str | None
    source_key: bytes
    channel: NotRequired[int | None]
    licence: NotRequired[str | None]
    attribution: NotRequired[str | None]
    consent: NotRequired[str | None]
    source_url: NotRequired[str | None]


class SpokenRow(UtteranceRow):
    """A row of the table `utterances` that has audio.

    Attributes:
        root: root of the dataset, which a relative URI starts from; not a column.
    """

    audio: Audio  # pyright: ignore[reportIncompatibleVariableOverride] - narrower, and never written through the base
    checksum: str  # pyright: ignore[reportIncompatibleVariableOverride]
    root: NotRequired[str]


def spoken_rows(rows: Iterable[UtteranceRow]) -> list[SpokenRow]:
    """The rows that have audio."""
    return [cast(SpokenRow, row) for row in rows if row["audio"] is not None]


class WordsRow(TypedDict):
    """Words of an utterance, read from the table `unit_language`."""

    utterance_id: str
    words: list[int]
    num_frames: int


class RowsPayload(TypedDict):
    """Payload of a work unit, or of only some of its rows, by position from 0."""

    only: NotRequired[Sequence[int]]


def selected(rows: Sequence[T], payload: RowsPayload) -> list[T]:
    """The rows that a payload asks for."""
    return [rows[number] for number in payload.get("only", range(len(rows)))]


class AudioPayload(RowsPayload):
    """Payload of a work unit that reads audio.

    Attributes:
        roots: root of each dataset, which relative URIs start from.
        decoded: the audio, where another process has decoded it; never part of a plan.
    """

    roots: NotRequired[Mapping[str, str]]
    decoded: NotRequired["Decoded"]


class FilePayload(AudioPayload):
    """Payload of a work unit that reads one file of the store."""

    path: str


class IngestPayload(FilePayload):
    """Payload of `ingest`.

    Attributes:
        taken: fingerprints of earlier work units whose rows and rejects of unchanged entries are taken over.
        seeds: of the samples of the fits, for which the receipt names the speech that comes first in them.
        borders: as in `StepStatistics`.
    """

    taken: NotRequired[Sequence[str]]
    seeds: NotRequired[Sequence[int]]
    borders: NotRequired[Borders]


class UnitsFiles(TypedDict):
    """Paths of the utterances of an earlier work unit, of their units, and of their rejects if there are any."""

    utterances: str
    units: str
    rejects: str | None


class QuantizePayload(FilePayload):
    """Payload of `quantize`.

    Attributes:
        duplicates: ids of utterances to reject because another one, whose id is the value, has the same audio.
        taken: files of earlier work units whose units are taken over where the audio is the same.
    """

    taken: NotRequired[Sequence[UnitsFiles]]
    duplicates: NotRequired[Mapping[str, str]]


class SampledFile(FilePayload):
    """A file of utterances with its sampled pieces: row, offset and length in samples."""

    pieces: list[tuple[int, int, int]]


class SamplePayload(AudioPayload):
    """Payload of `sample_features`."""

    parts: list[SampledFile]


class ShardFiles(TypedDict):
    """Paths of the utterances of one work unit and of their words."""

    utterances: str
    words: str


class Spoken(TypedDict):
    """Earlier shards and the utterances in them; their FLAC is taken over where the audio is the same.

    Attributes:
        utterances: paths of tables `utterances`.
        shards: paths of training tables with a column `audio`.
    """

    utterances: Sequence[str]
    shards: Sequence[str]


class ShardPayload(AudioPayload):
    """Payload of `shard`.

    Attributes:
        units: files of the work units whose utterances the shard holds; the name is part of stored failure records.
        taken: earlier shards.
        kept: fields of the `DataFile`s of an earlier shard of the same utterances that stay; without them, all is made.
        contents: what the receipt of that shard says of its files.
    """

    units: list[ShardFiles]
    taken: NotRequired[Spoken]
    kept: NotRequired[Sequence[Mapping[str, Any]]]
    contents: NotRequired[Mapping[str, Any]]


class DatasetCounts(TypedDict):
    """Utterances with audio of one dataset in a work unit, and their total length in samples."""

    utterances: int
    samples: int


CandidateRow = list[str | int]
"""Speech that a sample may choose: priority as hexadecimal digits, position of the file in the receipt, row in the
file, and offset and length in samples. A list, as it is when it was read from a receipt."""


class StepStatistics(TypedDict):
    """Statistics in a receipt; each step writes its own subset.

    Attributes:
        datasets: counts by dataset (ingest, quantize).
        licences: samples by dataset and licence, for utterances whose licence is known, if there are any (quantize).
        seconds: seconds of audio in each file of utterances (ingest).
        examples: training examples by stage (shard).
        unused: number of utterances in no example, by reason (shard).
        skipped: sampled utterances that could not be decoded (sample_features).
        rejected: SHA-256 of the audio files of rejects, by the hexadecimal keys of their entries (ingest); missing in
            receipts of older programs.
        taken: fingerprints of the work units that rows were taken from (ingest).
        holds: paths of utterances and words of each work unit in the shard (shard).
        candidates: speech that comes first in samples, by seed and dataset; older programs wrote none (ingest).
        borders: `content` if the files of utterances end where the utterances say, so that those far from a new or
            removed one stay; missing where each is filled in turn, as older programs did (ingest).
        contents: values of `echox.data.contents.Contents` of each training table's file (shard).
        revision: revision of the step; missing in receipts of before 0.1.
    """

    datasets: NotRequired[dict[str, DatasetCounts]]
    licences: NotRequired[dict[str, dict[str, int]]]
    seconds: NotRequired[list[float]]
    examples: NotRequired[dict[str, int]]
    unused: NotRequired[dict[str, int]]
    skipped: NotRequired[int]
    rejected: NotRequired[dict[str, str]]
    taken: NotRequired[Sequence[str]]
    holds: NotRequired[Sequence[Sequence[str]]]
    candidates: NotRequired[dict[str, dict[str, list[CandidateRow]]]]
    borders: NotRequired[Borders]
    contents: NotRequired[Mapping[str, Any]]
    revision: NotRequired[int]


def statistics_of(receipt: Receipt) -> StepStatistics:
    """The typed statistics of a receipt."""
    return cast(StepStatistics, receipt.stats)


def dataset_counts(receipts: Iterable[Receipt]) -> Iterator[tuple[str, DatasetCounts]]:
    """Yield name and counts of each dataset in each receipt of `ingest` or `quantize`."""
    for receipt in receipts:
        yield from statistics_of(receipt).get("datasets", {}).items()


def count_datasets(rows: Iterable[SpokenRow]) -> dict[str, DatasetCounts]:
    """Count the utterances and samples of each dataset."""
    totals: dict[str, DatasetCounts] = {}
    for row in rows:
        counts = totals.setdefault(row["dataset"], DatasetCounts(utterances=0, samples=0))
        counts["utterances"] += 1
        counts["samples"] += row["num_samples"]
    return totals


def count_licences(rows: Iterable[SpokenRow]) -> dict[str, dict[str, int]]:
    """Count the samples of each known licence of each dataset."""
    totals: dict[str, Counter[str]] = {}
    for row in rows:
        if licence := row.get("licence"):
            totals.setdefault(row["dataset"], Counter())[licence] += row["num_samples"]
    return {dataset: dict(sorted(counts.items())) for dataset, counts in totals.items()}


class CameWith(TypedDict):
    """The version in which an artifact first appeared, and the speech of that version in samples.

    Attributes:
        corpus: store of that version, if it is another one.
    """

    version: int
    samples: int
    corpus: NotRequired[str]


class UsedSuppression(TypedDict):
    """The suppression lists that a version was made with, and the number of entries that they kept out of it."""

    lists: list[str]
    left_out: int


class Lineage(TypedDict):
    """Origin of a version.

    Attributes:
        specs: fingerprint of the requested configuration, by artifact or step.
        versions: versions of the packages that affect the values.
        came_with: origin of each artifact; missing in versions written before 0.1.
        suppressed: missing in stores without suppression lists.
        renamed: earlier names of datasets; missing if there are none.
    """

    specs: dict[str, str]
    versions: dict[str, str]
    came_with: NotRequired[dict[str, CameWith]]
    suppressed: NotRequired[UsedSuppression]
    renamed: NotRequired[Names]


class GoneCounts(TypedDict):
    """Part of a dataset that a version keeps although no source lists it any more.

    Attributes:
        entries: entries.
        rejects: rejects among them.
        utterances: utterances with units.
        samples: length of these in samples at 16 kHz.
        frames: their frames.
        words: their words.
    """

    entries: int
    rejects: int
    utterances: int
    samples: int
    frames: int
    words: int


class SharedAudio(TypedDict):
    """Utterances whose audio another utterance has too.

    Attributes:
        datasets: two names; if they are equal, utterances of one dataset beyond the first one of each audio.
        utterances: number of utterances; of two datasets, those of the one that has fewer of an audio.
        samples: their length.
    """

    datasets: list[str]
    utterances: int
    samples: int


class VersionStatistics(TypedDict):
    """Statistics of a version.

    Attributes:
        entries: entries of the sources.
        datasets: values of `DatasetStatistics.to_dict`, by dataset.
        examples: training examples by stage.
        unused: number of utterances in no example, by reason.
        gone: what is kept although no source lists it any more, by dataset; missing if there is nothing.
        shared_audio: utterances with equal audio, by pairs of datasets.
    """

    entries: int
    datasets: dict[str, dict[str, object]]
    examples: NotRequired[dict[str, int]]
    unused: NotRequired[dict[str, int]]
    gone: NotRequired[dict[str, GoneCounts]]
    shared_audio: NotRequired[list[SharedAudio]]


class RecordedConfig(TypedDict):
    """Sections of the config in a version that are shown."""

    features: dict[str, Any]
    quantizer: dict[str, Any]
    unit_language: dict[str, Any]
    sources: list[dict[str, Any]]


class Made(TypedDict):
    """The parts of a version that builds write and read as plain JSON values."""

    config: RecordedConfig
    lineage: Lineage
    statistics: VersionStatistics


_MADE = TypeAdapter(Made)


def check_made(store: Store, version: Version) -> Version:
    """Return a version after a check that it has what a build writes into it.

    Raises:
        CorruptStore: a field is missing or has another type; the message names the file and the first such field.
    """
    parts = {"config": version.config, "lineage": version.lineage, "statistics": version.statistics}
    typed(_MADE, parts, store.url(version_path(version.number)), REMEDY)
    return version


def left_out_of(version: Version) -> int:
    """Number of entries that the suppression lists kept out of a version."""
    return cast(Lineage, version.lineage).get("suppressed", {}).get("left_out", 0)


def suppression_of(version: Version) -> Sequence[str]:
    """Names of the suppression lists that a version was made with."""
    return cast(Lineage, version.lineage).get("suppressed", {}).get("lists", ())


def earlier_names_of(version: Version) -> Names:
    """Earlier names of the datasets of a version; older programs left only those that its config states."""
    found = cast(Lineage, version.lineage).get("renamed")
    if found is not None:
        return found
    stated = {source["renamed_from"]: source["dataset"] for source in version.config["sources"] if renames(source)}
    return names_after({}, stated, datasets_of(version), suppression_of(version))


def renames(source: Mapping[str, Any]) -> bool:
    """Whether a source, as a version records it, gives its dataset another name."""
    return source.get("renamed_from") not in (None, source["dataset"])


def datasets_of(version: Version) -> set[str]:
    """Names of the datasets of a version."""
    return {*version.statistics["datasets"]}


def new_names_of(version: Version) -> dict[str, str]:
    """Names that datasets have in a version, by their earlier names, without those that other datasets have now."""
    names, taken = earlier_names_of(version), datasets_of(version)
    return {old: dataset for dataset, of in names.items() for old in of if old not in taken}


@dataclass(frozen=True)
class UtteranceFile:
    """A file of the table `utterances`; each step after `ingest` processes one file as one work unit.

    Attributes:
        path: path in the store.
        sha256: digest of the file, which later fingerprints include.
        rows: number of utterances.
        seconds: seconds of audio.
    """

    path: str
    sha256: str
    rows: int
    seconds: float


def utterance_files(receipts: Iterable[Receipt]) -> list[UtteranceFile]:
    """The utterance files that these receipts of `ingest` list, in order."""
    found: list[UtteranceFile] = []
    for receipt in receipts:
        files = [file for file in receipt.files if file.table == "utterances"]
        seconds = statistics_of(receipt).get("seconds", [])
        found += [UtteranceFile(f.path, f.sha256, f.rows, length) for f, length in zip(files, seconds, strict=True)]
    return found
