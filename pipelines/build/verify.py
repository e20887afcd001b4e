"""Verify a corpus version: checksums, counts, and that every row decodes to its units and frames."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import chain
from typing import Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.build.accounts import check_accounts
from pipelines.build.statistics import (
    ByDataset,
    Coding,
    DatasetStatistics,
    count_rejects,
    count_words,
    counted_steps,
    from_version,
    lengths,
    merge,
    version_statistics,
)
from pipelines.readers.base import digest16
from pipelines.reading import read_ahead
from pipelines.records import check_made, utterance_files
from pipelines.sources.duplicates import CONTENT, ContentIndex, rejects_duplicates, shared_among
from pipelines.steps import table_steps
from pipelines.steps.fit_quantizer import quantizer_card
from pipelines.steps.fit_unit_language import load_unit_language
from storage.errors import StorageError
from storage.receipts import DataFile, Receipt
from storage.store import Store
from storage.verify import broken_files, checked_table, in_threads, verify_names
from storage.versions import Version, version_path
from unitlang.errors import UnitlangError
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

    def take(self, other: "Spoken") -> None:
        """Add the utterances of another index."""
        for table, digests in other._digests.items():
            self._digests[table].extend(digests)

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
    """Inputs of the checks of a version, and their findings.

    Attributes:
        rejected: ids of the rejects in each file of rejects of the steps after `ingest`, by its path.
        known: index of the words of all utterances.
        index: index of the audio of all utterances.
        counts: statistics of the tables so far.
    """

    store: Store
    coding: Coding
    extractor: str
    rejected: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    known: Spoken = field(default_factory=Spoken)
    index: ContentIndex = field(default_factory=ContentIndex)
    counts: list[ByDataset] = field(default_factory=list[ByDataset])

    @classmethod
    def of(cls, store: Store, version: Version) -> Self:
        card = quantizer_card(store, version.artifact("quantizer").fingerprint)
        language = load_unit_language(store, version.artifact("unit_language").fingerprint)
        return cls(store, Coding(language, grid_of_card(card)), card["features"]["kind"])

    def count(self, counted: ByDataset) -> None:
        """Add statistics."""
        self.counts[:] = [merge((*self.counts, counted))]


@dataclass(frozen=True)
class _Seen:
    """Findings of the check of a work unit.

    Attributes:
        faults: one line each.
        names: ids of its utterances.
        contents: columns of its utterances that say which audio they are.
        spoken: index of its words.
        counted: its statistics; nothing if there are faults.
    """

    faults: list[str]
    names: list[str] = field(default_factory=list[str])
    contents: pa.Table | None = None
    spoken: Spoken = field(default_factory=Spoken)
    counted: ByDataset = field(default_factory=dict[str, DatasetStatistics])


def verify(store: Store, version: Version) -> Iterator[str]:
    """Yield one line for each fault of a version; none for a version without faults.

    These checks are made: checksum and number of rows of every file; accounts of the utterances; number of frames of
    each utterance against the extractor's grid; words decode to the runs, and runs to the frames; words of training
    examples match those of their utterances; if all this is right, the statistics of the version are those of its
    tables. Each file is read once, by one request, and many side by side. Memory is bounded by a few files, and by
    digests of each utterance.
    """
    yield from (problems := list(verify_names(store, version)))
    try:
        check_accounts(version.steps)
        checks = _Checks.of(store, version)
    except (AssertionError, StorageError, UnitlangError) as error:
        yield from (problem for _, problem in broken_files(store, version.contents.tables))
        if str(error) not in problems:
            yield str(error)
        return
    sound = not problems
    for problem in _faults(checks, version):
        sound = False
        yield problem
    if sound:
        yield from _statistics(checks, version)


def _faults(checks: _Checks, version: Version) -> Iterator[str]:
    """Yield one line for each fault of files and rows."""
    seen = set[str]()
    yield from _rejects(checks, version, seen)
    yield from _work_units(checks, version, seen)
    checks.known.sort()
    rest = [file for file in version.contents.tables if file.path not in seen]
    yield from chain.from_iterable(in_threads(partial(_rest, checks, file) for file in rest))
    for receipt in version.steps["shard"]:
        found = sum(file.rows for file in receipt.files)
        if found != sum(receipt.stats["examples"].values()):
            yield f"shard {receipt.fingerprint}: {found} examples in its files, others in its receipt"
    for name, step in table_steps().items():
        if name in version.steps:
            yield from step.problems(checks.store, version)


def _rejects(checks: _Checks, version: Version, seen: set[str]) -> Iterator[str]:
    """Read the rejects; yield a line for each broken file, and for each utterance that two steps reject.

    Rejects of `ingest` are entries that became no utterance; another entry may have the same id.
    """
    counted = counted_steps(version.steps)
    files = [
        (step, file)
        for step, receipts in version.steps.items()
        for receipt in receipts
        for file in receipt.files
        if file.table == "rejects"
    ]
    by: dict[str, str] = {}
    reads = (partial(_read, checks.store, file, ("dataset", "reason", "utterance_id")) for _, file in files)
    for (step, file), table in zip(files, read_ahead(reads), strict=True):
        seen.add(file.path)
        if isinstance(table, str):
            yield table
            continue
        if step in counted:
            checks.count(count_rejects(table, checks.coding))
        names = [] if step == "ingest" else table["utterance_id"].to_pylist()
        checks.rejected[file.path] = names
        for name in names:
            if by.setdefault(name, step) != step:
                place = checks.store.uri
                yield f"{place}: utterance {name} is rejected by {by[name]} and by {step}; one step must take it"


def _read(store: Store, file: DataFile, columns: Sequence[str] | None = None) -> pa.Table | str:
    """Some columns of a table, or what is wrong with its file."""
    try:
        return checked_table(store, file, columns)
    except StorageError as error:
        return str(error)


def _work_units(checks: _Checks, version: Version, seen: set[str]) -> Iterator[str]:
    """Check the work units side by side; yield their faults, and utterances whose id occurs twice."""
    steps = version.steps
    utterances = [file for receipt in steps["ingest"] for file in receipt.files if file.table == "utterances"]
    units = list(zip(utterances, steps["quantize"], steps["encode"], strict=True))
    names: set[bytes] = set()
    jobs = (partial(_work_unit, checks, *of_unit) for of_unit in units)
    for (file, quantized, encoded), found in zip(units, read_ahead(jobs), strict=True):
        seen.update((file.path, quantized.files[0].path, encoded.files[0].path))
        yield from found.faults
        for name in found.names:
            digest = digest16(name)
            if digest in names:
                yield f"{file.path}: utterance {name} is there twice"
            names.add(digest)
        checks.known.take(found.spoken)
        checks.count(found.counted)
        if found.contents is not None:
            checks.index.add(found.contents)


def _work_unit(checks: _Checks, utterances: DataFile, quantized: Receipt, encoded: Receipt) -> _Seen:
    """Check one work unit; each of its files is read once."""
    files = (utterances, quantized.files[0], encoded.files[0])
    read = [_read(checks.store, file) for file in files]
    if broken := [table for table in read if isinstance(table, str)]:
        return _Seen(broken)
    rows, units, words = cast("list[pa.Table]", read)
    spoken = rows.filter(pc.field("audio").is_valid())
    rejected = [name for file in quantized.files for name in checks.rejected.get(file.path, ())]
    faults = list(_tables(checks, files, spoken, units, words, rejected))
    index = Spoken()
    index.add(rows, words)
    return _Seen(
        faults,
        rows["utterance_id"].to_pylist(),
        rows.select([name for name in (*CONTENT, "dataset", "channel") if name in rows.column_names]),
        index,
        {} if faults else count_words(words, checks.coding),
    )


def _tables(
    checks: _Checks,
    files: Sequence[DataFile],
    spoken: pa.Table,
    units: pa.Table,
    words: pa.Table,
    rejected: Sequence[str],
) -> Iterator[str]:
    """Yield the faults of the rows of a work unit."""
    of_utterances, of_units, of_words = (file.path for file in files)
    samples = dict(zip(spoken["utterance_id"].to_pylist(), spoken["num_samples"].to_pylist(), strict=True))
    found = units["utterance_id"].to_pylist()
    if Counter(spoken["utterance_id"].to_pylist()) != Counter(found) + Counter(rejected):
        yield f"{of_utterances}: its utterances are not those of {of_units} and its rejects"
    if found != words["utterance_id"].to_pylist():
        yield f"{of_words}: its utterances are not those of {of_units}"
        return
    yield from _frames(checks, of_units, units, samples)
    yield from _rows(of_words, units, words, checks.coding.language)


def _frames(checks: _Checks, path: str, units: pa.Table, samples: Mapping[str, int]) -> Iterator[str]:
    """Compare the number of frames of each utterance with the number that the extractor's grid gives."""
    for name, frames in zip(units["utterance_id"].to_pylist(), units["num_frames"].to_pylist(), strict=True):
        expected = checks.coding.grid.num_frames(samples[name]) if name in samples else frames
        if frames != expected:
            yield f"{path}: {name}: {frames} frames, but the grid of extractor {checks.extractor} says {expected}"


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


def _rest(checks: _Checks, file: DataFile) -> list[str]:
    """The faults of any other file; words of training examples must match those of the utterances, checked before."""
    columns = ("example_id", WORDS_OF[file.table], "words") if file.table in WORDS_OF else ()
    rows = _read(checks.store, file, list(dict.fromkeys(columns)))
    if isinstance(rows, str):
        return [rows]
    strangers = checks.known.strangers(file.table, rows) if columns else []
    if not strangers:
        return []
    first = rows["example_id"][strangers[0]]
    return [f"{file.path}: {first}: the words are not those of the utterance ({len(strangers)} such examples)"]


def _statistics(checks: _Checks, version: Version) -> Iterator[str]:
    """Compare the statistics in the file of the version with those of its tables."""
    steps, place = version.steps, checks.store.url(version_path(version.number))
    counted = {name: steps[name] for name in counted_steps(steps)}
    datasets = merge((*checks.counts, *lengths(counted, checks.coding)))
    paths = [file.path for file in utterance_files(steps["ingest"])]
    shared = [] if rejects_duplicates(steps) else shared_among(checks.index.contents(paths))
    found = version_statistics(steps, datasets, shared)
    try:
        check_made(checks.store, version)
        recorded = {name: counts.to_dict() for name, counts in from_version(version.statistics).items()}
    except (StorageError, UnitlangError) as error:
        yield str(error)
        return
    for name in sorted(found["datasets"].keys() | recorded.keys()):
        if found["datasets"].get(name) != recorded.get(name):
            yield f"{place}: the statistics of dataset {name} are not those of its tables"
    for what in ("entries", "examples", "unused", "shared_audio"):
        if what in version.statistics and version.statistics[what] != found.get(what):
            yield f"{place}: statistics.{what} is {version.statistics[what]}, the tables give {found.get(what)}"
