"""Verify a corpus version: checksums, counts, and that every row decodes to its units and frames."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.build.accounts import check_accounts
from pipelines.build.statistics import Coding, from_version, recount
from pipelines.readers.base import digest16
from pipelines.records import check_made, utterance_files
from pipelines.steps import table_steps
from pipelines.steps.fit_quantizer import quantizer_card
from pipelines.steps.fit_unit_language import load_unit_language
from storage.errors import StorageError
from storage.receipts import DataFile, Receipt
from storage.store import Store
from storage.tables import read_table
from storage.verify import verify_files
from storage.versions import Version, version_path
from unitlang.errors import UnitlangError
from unitlang.frames import FrameGrid
from unitlang.language.unit_language import UnitLanguage
from unitlang.quantizer.quantizer import grid_of_card

WORDS_OF = {"t2c": "example_id", "echo": "response"}
"""Training tables with words, and the column that identifies the utterance: its id, or its text."""


class Spoken:
    """Index of the words of all utterances of a version; it takes 16 bytes for each utterance.

    8 bytes are a digest of id and words (for t2c), 8 a digest of text and words (for echo, whose rows lack the id of
    the answer's utterance).
    """

    def __init__(self) -> None:
        self._digests = {table: array("Q") for table in WORDS_OF}

    def add(self, spoken: pa.Table, words: pa.Table) -> None:
        """Add the utterances of one work unit.

        Args:
            spoken: columns `utterance_id` and `text` of the utterances.
            words: columns `utterance_id` and `words` of the unit language.
        """
        names = words["utterance_id"].to_pylist()
        texts = dict(zip(spoken["utterance_id"].to_pylist(), spoken["text"].to_pylist(), strict=True))
        for table, owners in (("t2c", names), ("echo", [texts.get(name) for name in names])):
            self._digests[table].extend(_digests(owners, words["words"]))

    def sort(self) -> None:
        """Sort the digests; call it after the last `add` and before the first `strangers`."""
        for digests in self._digests.values():
            np.frombuffer(digests, np.uint64).sort()

    def strangers(self, table: str, rows: pa.Table) -> list[int]:
        """Positions of the rows of a training table whose words differ from those of the utterance."""
        known = np.frombuffer(self._digests[table], np.uint64)
        asked = np.fromiter(_digests(rows[WORDS_OF[table]].to_pylist(), rows["words"]), np.uint64)
        left, right = (np.searchsorted(known, asked, side) for side in ("left", "right"))
        return np.flatnonzero(left == right).tolist()


def _digests(owners: Iterable[str | None], words: pa.ChunkedArray) -> Iterator[int]:
    for owner, row in zip(owners, words, strict=True):
        data = (owner or "").encode() + b"\0" + np.asarray(row.values, np.int32).tobytes()
        yield int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class _Checks:
    """Artifacts and indexes that the checks of a version use."""

    store: Store
    language: UnitLanguage
    grid: FrameGrid
    extractor: str
    known: Spoken

    @classmethod
    def of(cls, store: Store, version: Version) -> Self:
        card = quantizer_card(store, version.artifact("quantizer").fingerprint)
        language = load_unit_language(store, version.artifact("unit_language").fingerprint)
        return cls(store, language, grid_of_card(card), card["features"]["kind"], Spoken())


def verify(store: Store, version: Version) -> Iterator[str]:
    """Yield one line for each fault of a version; none for a version without faults.

    These checks are made: checksum and number of rows of every file; accounts of the utterances; number of frames of
    each utterance against the extractor's grid; words decode to the runs, and runs to the frames; words of training
    examples match those of their utterances; if all this is right, the statistics of the version are those of its
    tables. Memory is bounded by a few files and 16 bytes for each utterance.
    """
    sound = True
    for problem in _faults(store, version):
        sound = False
        yield problem
    if sound:
        yield from _statistics(store, version)


def _faults(store: Store, version: Version) -> Iterator[str]:
    """Yield one line for each fault of files, rows and accounts."""
    yield from verify_files(store, version)
    try:
        check_accounts(version.steps)
        checks = _Checks.of(store, version)
    except (AssertionError, StorageError, UnitlangError) as error:
        yield str(error)
        return
    steps = version.steps
    for file, quantized, encoded in zip(
        utterance_files(steps["ingest"]), steps["quantize"], steps["encode"], strict=True
    ):
        yield from _work_unit(checks, file.path, quantized, encoded)
    checks.known.sort()
    for receipt in steps["shard"]:
        yield from _examples(store, receipt, checks.known)
    yield from _duplicates(store, version)
    yield from _rejected_twice(store, version)
    for name, step in table_steps().items():
        if name in steps:
            yield from step.problems(store, version)


def _work_unit(checks: _Checks, utterances: str, quantized: Receipt, encoded: Receipt) -> Iterator[str]:
    """Yield the faults of one work unit, or one line if a file cannot be read."""
    store = checks.store
    try:
        spoken = read_table(store, utterances, ["utterance_id", "audio", "num_samples", "text"])
        units = read_table(store, quantized.files[0].path)
        words = read_table(store, encoded.files[0].path)
        checks.known.add(spoken, words)
        rejected = _rejected(store, quantized)
    except StorageError as error:
        yield str(error)
        return
    spoken = spoken.filter(pc.field("audio").is_valid())
    samples = dict(zip(spoken["utterance_id"].to_pylist(), spoken["num_samples"].to_pylist(), strict=True))
    found = units["utterance_id"].to_pylist()
    if Counter(spoken["utterance_id"].to_pylist()) != Counter(found) + Counter(rejected):
        yield f"{utterances}: its utterances are not those of {quantized.files[0].path} and its rejects"
    if found != words["utterance_id"].to_pylist():
        yield f"{encoded.files[0].path}: its utterances are not those of {quantized.files[0].path}"
        return
    yield from _frames(checks, quantized.files[0].path, units, samples)
    yield from _rows(encoded.files[0].path, units, words, checks.language)


def _frames(checks: _Checks, path: str, units: pa.Table, samples: Mapping[str, int]) -> Iterator[str]:
    """Compare the number of frames of each utterance with the number that the extractor's grid gives."""
    for name, frames in zip(units["utterance_id"].to_pylist(), units["num_frames"].to_pylist(), strict=True):
        expected = checks.grid.num_frames(samples[name]) if name in samples else frames
        if frames != expected:
            yield f"{path}: {name}: {frames} frames, but the grid of extractor {checks.extractor} says {expected}"


def _rejected_twice(store: Store, version: Version) -> Iterator[str]:
    """Yield a line for each utterance that two steps reject; it would count twice.

    Rejects of `ingest` are entries that became no utterance; another entry may have the same id.
    """
    by: dict[str, str] = {}
    for step, receipt in ((step, r) for step, receipts in version.steps.items() if step != "ingest" for r in receipts):
        try:
            names = _rejected(store, receipt)
        except StorageError:
            continue  # the check of checksums reports it
        for name in names:
            if by.setdefault(name, step) != step:
                yield f"{store.uri}: utterance {name} is rejected by {by[name]} and by {step}; one step must take it"


def _rejected(store: Store, receipt: Receipt) -> list[str]:
    paths = [file.path for file in receipt.files if file.table == "rejects"]
    return [name for path in paths for name in read_table(store, path, ["utterance_id"])["utterance_id"].to_pylist()]


def _rows(path: str, units: pa.Table, words: pa.Table, language: UnitLanguage) -> Iterator[str]:
    """Check that the words of each row decode to its runs, and the runs to its frames."""
    names = ("units", "durations", "num_frames", "utterance_id")
    columns = (*(units[name] for name in names), *(words[name] for name in ("words", "num_runs", "num_frames")))
    for runs, durations, frames, name, row_words, num_runs, num_frames in zip(*columns, strict=True):
        units_R = np.asarray(runs.values, np.uint16)
        durations_R = np.asarray(durations.values, np.uint16)
        try:
            decoded_R = language.decode(np.asarray(row_words.values, np.int32))
        except UnitlangError as error:
            yield f"{path}: {name}: {error}"
            continue
        if not np.array_equal(decoded_R, units_R) or num_runs.as_py() != len(units_R):
            yield f"{path}: {name}: the words do not give the units back"
        counted = {frames.as_py(), num_frames.as_py()}
        if len(durations_R) != len(units_R) or counted != {int(durations_R.sum(dtype=np.int64))}:
            yield f"{path}: {name}: the durations do not sum to num_frames"


def _examples(store: Store, receipt: Receipt, known: Spoken) -> Iterator[str]:
    """Check that the words of training examples match those of the utterances, which were checked before."""
    for file in _with_words(receipt.files):
        try:
            rows = read_table(store, file.path, list({"example_id", WORDS_OF[file.table], "words"}))
        except StorageError as error:
            yield f"{file.path}: {error}"
            continue
        if strangers := known.strangers(file.table, rows):
            first = rows["example_id"][strangers[0]]
            yield f"{file.path}: {first}: the words are not those of the utterance ({len(strangers)} such examples)"
    counted = sum(file.rows for file in receipt.files)
    if counted != sum(receipt.stats["examples"].values()):
        yield f"shard {receipt.fingerprint}: {counted} examples in its files, others in its receipt"


def _with_words(files: Sequence[DataFile]) -> list[DataFile]:
    return [file for file in files if file.table in WORDS_OF]


def _statistics(store: Store, version: Version) -> Iterator[str]:
    """Compare the statistics in the file of the version with those of its tables."""
    try:
        checks = _Checks.of(store, version)
        check_made(store, version)
        counted = recount(store, version.steps, Coding(checks.language, checks.grid))
        recorded = {name: counts.to_dict() for name, counts in from_version(version.statistics).items()}
    except (StorageError, UnitlangError) as error:
        yield str(error)
        return
    place = store.url(version_path(version.number))
    for name in sorted(counted["datasets"].keys() | recorded.keys()):
        if counted["datasets"].get(name) != recorded.get(name):
            yield f"{place}: the statistics of dataset {name} are not those of its tables"
    for field in ("entries", "examples", "unused", "shared_audio"):
        if field in version.statistics and version.statistics[field] != counted.get(field):
            told, found = version.statistics[field], counted.get(field)
            yield f"{place}: statistics.{field} is {told}, the tables give {found}"


def _duplicates(store: Store, version: Version) -> Iterator[str]:
    """Check that no utterance id occurs twice; ids are compared by digests of 16 bytes."""
    seen: set[bytes] = set()
    for file in version.files("utterances", step="ingest"):
        try:
            names = read_table(store, file.path, ["utterance_id"])["utterance_id"].to_pylist()
        except StorageError:
            continue  # the check of checksums reports it
        for name in names:
            digest = digest16(name)
            if digest in seen:
                yield f"{file.path}: utterance {name} is there twice"
            seen.add(digest)
