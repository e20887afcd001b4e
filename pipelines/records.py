"""Rows, payloads and statistics that pass between steps as JSON values or Parquet rows, with their types.

The tables themselves are described in `storage.schemas`; lengths are in samples at 16 kHz or in frames, as named.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict, cast

from storage.receipts import Receipt

Receipts = Mapping[str, Sequence[Receipt]]
"""Receipts by step."""


class Audio(TypedDict):
    """Location of encoded audio, or its bytes."""

    uri: str | None
    bytes: bytes | None


class UtteranceRow(TypedDict):
    """A row of the table `utterances`; without audio, the numbers of its audio are 0 or None."""

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


class SpokenRow(UtteranceRow):
    """A row of the table `utterances` that has audio."""

    audio: Audio  # pyright: ignore[reportIncompatibleVariableOverride] - narrower, and never written through the base
    checksum: str  # pyright: ignore[reportIncompatibleVariableOverride]


def spoken_rows(rows: Iterable[UtteranceRow]) -> list[SpokenRow]:
    """The rows that have audio."""
    return [cast(SpokenRow, row) for row in rows if row["audio"] is not None]


class WordsRow(TypedDict):
    """Words of an utterance, read from the table `unit_language`."""

    utterance_id: str
    words: list[int]
    num_frames: int


class FilePayload(TypedDict):
    """Payload of a work unit that reads one file of the store."""

    path: str


class SampledFile(FilePayload):
    """A file of utterances, and the pieces of it that are in a sample: row, offset and length in samples."""

    pieces: list[tuple[int, int, int]]


class SamplePayload(TypedDict):
    """Payload of `sample_features`."""

    parts: list[SampledFile]


class ShardFiles(TypedDict):
    """Paths of a work unit's utterances and of their words."""

    utterances: str
    words: str


class ShardPayload(TypedDict):
    """Payload of `shard`."""

    units: list[ShardFiles]


class DatasetCounts(TypedDict):
    """Size of one dataset within a work unit: utterances with audio, and their length in samples."""

    utterances: int
    samples: int


class StepStatistics(TypedDict):
    """Statistics in a receipt; each step writes those that its table calls for.

    Attributes:
        datasets: sizes by dataset (ingest, quantize).
        seconds: seconds of audio in each file of utterances (ingest).
        examples: training examples by stage (shard).
        unused: utterances in no example, by reason (shard).
        skipped: sampled utterances that could not be decoded (sample_features).
    """

    datasets: NotRequired[dict[str, DatasetCounts]]
    seconds: NotRequired[list[float]]
    examples: NotRequired[dict[str, int]]
    unused: NotRequired[dict[str, int]]
    skipped: NotRequired[int]


def statistics_of(receipt: Receipt) -> StepStatistics:
    """The statistics of a receipt, with their types."""
    return cast(StepStatistics, receipt.stats)


def dataset_counts(receipts: Iterable[Receipt]) -> Iterator[tuple[str, DatasetCounts]]:
    """Size of each dataset in each receipt of `ingest` or `quantize`."""
    for receipt in receipts:
        yield from statistics_of(receipt).get("datasets", {}).items()


def count_datasets(rows: Iterable[SpokenRow]) -> dict[str, DatasetCounts]:
    """Size of each dataset."""
    totals: dict[str, DatasetCounts] = {}
    for row in rows:
        counts = totals.setdefault(row["dataset"], DatasetCounts(utterances=0, samples=0))
        counts["utterances"] += 1
        counts["samples"] += row["num_samples"]
    return totals


class CameWith(TypedDict):
    """The version that an artifact first appeared in, and how much speech (samples) that version held."""

    version: int
    samples: int


class Lineage(TypedDict):
    """Origin of a version.

    Attributes:
        specs: by artifact or step, a fingerprint of what was asked for.
        versions: versions of the packages that values depend on.
        came_with: origin of each artifact; programs before 0.1 did not record it.
    """

    specs: dict[str, str]
    versions: dict[str, str]
    came_with: NotRequired[dict[str, CameWith]]


class VersionStatistics(TypedDict):
    """Statistics of a version: entries of the sources, datasets (`DatasetStatistics.to_dict`), training examples."""

    entries: int
    datasets: dict[str, dict[str, object]]
    examples: dict[str, int]
    unused: dict[str, int]


@dataclass(frozen=True)
class UtteranceFile:
    """A file of the table `utterances`: the speech of one work unit of every step after `ingest`.

    Attributes:
        path: in the store.
        sha256: of the file; names its contents in later fingerprints.
        rows: utterances in it.
        seconds: seconds of audio.
    """

    path: str
    sha256: str
    rows: int
    seconds: float


def utterance_files(receipts: Iterable[Receipt]) -> list[UtteranceFile]:
    """The files of utterances that these receipts of `ingest` list, in order."""
    found: list[UtteranceFile] = []
    for receipt in receipts:
        files = [file for file in receipt.files if file.table == "utterances"]
        seconds = statistics_of(receipt).get("seconds", [])
        found += [UtteranceFile(f.path, f.sha256, f.rows, length) for f, length in zip(files, seconds, strict=True)]
    return found
