"""Utterances with the same audio under several ids: how many there are, and which one of them stays.

Only columns of tables are read, no audio. 24 bytes of each utterance are in memory, and more of those that share audio.

Legend: N = utterances with audio.
"""

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations_with_replacement
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.engine.state import BuildState
from pipelines.readers.base import digest16
from pipelines.reading import read_ahead
from pipelines.records import SharedAudio, SpokenRow, utterance_files
from pipelines.sources.audio_files import Content, same_audio
from storage.errors import CorruptStore, NotFound
from storage.receipts import Receipt
from storage.store import Store
from storage.tables import read_table

REASON = "duplicate_content"
"""Reason of rejects that have the audio of another utterance."""
CONTENT = ("checksum", "offset_samples", "num_samples")
"""Columns that say which audio an utterance is, besides `channel`."""
DIGITS = 16
"""Hexadecimal digits of a checksum in a digest: 64 bits."""
FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd factor that makes the digest of a content depend on the order of its parts."""
ROW = np.dtype([("content", "u8"), ("samples", "u4"), ("dataset", "u4"), ("file", "u4"), ("row", "u4")])
"""Columns that are kept of an utterance: a digest of its content, its length, its dataset, and where it is."""
PACKED = np.dtype([("content", "<u8"), ("samples", "<u4"), ("dataset", "<u4")])
"""Columns that a version keeps of an utterance, to compare new ones with it without its file."""
Rows = NDArray[Any]
"""An array of `ROW`, of shape (N,)."""


@dataclass(frozen=True)
class Contents:
    """The utterances with audio of some files, those with equal audio side by side.

    Attributes:
        paths: the files of the table `utterances`.
        rows: shape (N,), ordered by content.
        datasets: names of the datasets.
    """

    paths: Sequence[str]
    rows: Rows
    datasets: Sequence[str]

    def groups(self) -> Iterator[Rows]:
        """Yield the rows of each content that several utterances have."""
        _, first_G, counts_G = np.unique(self.rows["content"], return_index=True, return_counts=True)
        several_G = counts_G > 1
        for first, count in zip(first_G[several_G].tolist(), counts_G[several_G].tolist(), strict=True):
            yield self.rows[first : first + count]


class ContentIndex:
    """Gathers which audio the utterances of files are, 24 bytes of each, file by file."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._parts: list[Rows] = [np.zeros(0, ROW)]

    def add(self, table: pa.Table) -> None:
        """Add the next file: its columns `CONTENT`, `dataset`, and `channel` if there is one."""
        part = _rows(table, self._names)
        part["file"] = len(self._parts) - 1
        self._parts.append(part)

    def add_packed(self, heard: "Heard") -> None:
        """Add the utterances of a work unit of `ingest`."""
        packed = np.frombuffer(b64decode(heard.rows), PACKED)
        numbers = [self._names.setdefault(name, len(self._names)) for name in heard.datasets]
        part = np.zeros(len(packed), ROW)
        part["content"], part["samples"] = packed["content"], packed["samples"]
        part["dataset"] = np.array(numbers, np.uint32)[packed["dataset"]]
        self._parts.append(part)

    def contents(self, paths: Sequence[str]) -> Contents:
        """The utterances of all files; `paths` are those of the files in the order in which they were added."""
        rows = np.concatenate(self._parts)
        return Contents(paths, rows[np.argsort(rows["content"], kind="stable")], list(self._names))


def read_contents(store: Store, paths: Sequence[str]) -> Contents:
    """Read which audio the utterances of some files are.

    Args:
        store: the corpus.
        paths: files of the table `utterances`.

    Raises:
        StorageError: a file cannot be read.
    """
    index = ContentIndex()
    for table in read_ahead(partial(_read, store, path, ("dataset",)) for path in paths):
        index.add(table)
    return index.contents(paths)


def _read(store: Store, path: str, more: Sequence[str]) -> pa.Table:
    return read_table(store, path, [*CONTENT, *more], optional=["channel"])


def _rows(table: pa.Table, names: dict[str, int]) -> Rows:
    """The rows with audio; `names` receives new datasets."""
    checksums, datasets = table["checksum"].to_pylist(), table["dataset"].to_pylist()
    at = [number for number, checksum in enumerate(checksums) if checksum]
    spoken = table.take(pa.array(at, pa.int64()))
    rows = np.zeros(len(at), ROW)
    rows["row"], rows["samples"] = at, spoken["num_samples"].to_numpy()
    rows["dataset"] = [names.setdefault(datasets[number], len(names)) for number in at]
    digest_N = np.array([int(checksums[number][:DIGITS], 16) for number in at], np.uint64)
    for column in ("offset_samples", "num_samples"):
        digest_N = digest_N * FACTOR + spoken[column].to_numpy().astype(np.uint64)
    if "channel" in table.column_names:
        digest_N = digest_N * FACTOR + (spoken["channel"].fill_null(-1).to_numpy() + 1).astype(np.uint64)
    else:
        digest_N = digest_N * FACTOR
    rows["content"] = digest_N
    return rows


@dataclass(frozen=True)
class Heard:
    """Which audio the utterances of a work unit of `ingest` are.

    Attributes:
        files: digest of its files of utterances.
        datasets: names of the datasets.
        rows: an array of `PACKED`, in base64.
    """

    files: str
    datasets: tuple[str, ...]
    rows: str


def heard_by(store: Store, receipts: Sequence[Receipt], known: Mapping[str, Heard]) -> dict[str, Heard]:
    """Which audio the utterances of work units of `ingest` are, by their fingerprints.

    Args:
        store: the corpus.
        receipts: receipts of the work units.
        known: what an earlier version keeps, by fingerprint; the files of these work units are not read.

    Raises:
        StorageError: a file cannot be read.
    """
    found = {name: heard for receipt in receipts if (heard := known.get(name := receipt.fingerprint))}
    read = [receipt for receipt in receipts if not _is_of(found.get(receipt.fingerprint), receipt)]
    jobs = (partial(_heard, store, receipt) for receipt in read)
    return found | {receipt.fingerprint: heard for receipt, heard in zip(read, read_ahead(jobs), strict=True)}


def _is_of(heard: Heard | None, receipt: Receipt) -> bool:
    return heard is not None and heard.files == _files_digest(receipt)


def _files_digest(receipt: Receipt) -> str:
    return digest16(" ".join(file.sha256 for file in utterance_files([receipt]))).hex()


def _heard(store: Store, receipt: Receipt) -> Heard:
    names: dict[str, int] = {}
    tables = [_read(store, file.path, ("dataset",)) for file in utterance_files([receipt])]
    rows = np.concatenate([np.zeros(0, ROW), *(_rows(table, names) for table in tables)])
    packed = np.zeros(len(rows), PACKED)
    for name in PACKED.fields or ():
        packed[name] = rows[name]
    return Heard(_files_digest(receipt), tuple(names), b64encode(packed.tobytes()).decode())


def shared_audio(heard: Iterable[Heard]) -> list[SharedAudio]:
    """Count the utterances whose audio other utterances of a version have too, by pairs of datasets.

    Args:
        heard: of the work units of `ingest` of the version.
    """
    index = ContentIndex()
    for of_unit in heard:
        index.add_packed(of_unit)
    return shared_among(index.contents(()))


def rejects_duplicates(steps: Mapping[str, Sequence[Receipt]]) -> bool:
    """Whether a version rejects utterances whose audio others have."""
    return any(REASON in receipt.rejects for receipt in steps.get("quantize", ()))


def shared_among(contents: Contents) -> list[SharedAudio]:
    """Count the utterances whose audio others have too, by pairs of datasets."""
    counts: Counter[tuple[str, str]] = Counter()
    samples: Counter[tuple[str, str]] = Counter()
    for group in contents.groups():
        numbers: list[int] = group["dataset"].tolist()
        members = Counter(contents.datasets[number] for number in numbers)
        for pair in combinations_with_replacement(sorted(members), 2):
            shared = members[pair[0]] - 1 if pair[0] == pair[1] else min(members[name] for name in pair)
            counts[pair] += shared
            samples[pair] += shared * int(group["samples"][0])
    return [
        SharedAudio(datasets=list(pair), utterances=counts[pair], samples=samples[pair])
        for pair in sorted(counts)
        if counts[pair]
    ]


@dataclass(frozen=True)
class _Sharer:
    """An utterance that shares its audio."""

    path: str
    name: str
    dataset: str
    content: Content


def originals(build: BuildState) -> dict[str, dict[str, str]]:
    """Find the utterances that have the audio of another one, which stays.

    Of those with equal audio, one that the parent version has and does not reject as a duplicate stays; else that of
    the first dataset in the config; of one dataset, the one whose id is the first in alphabetical order.

    Returns:
        For each file of utterances the ids of duplicates, with the id of the utterance that stays.

    Raises:
        StorageError: a file cannot be read.
    """
    store = build.session.store
    groups: dict[Content, list[_Sharer]] = {}
    for sharer in _sharers(store, [file.path for file in build.utterance_files]):
        groups.setdefault(sharer.content, []).append(sharer)
    known = _incumbents(build, groups)
    order = {source.dataset: number for number, source in reversed([*enumerate(build.config.sources)])}
    found: dict[str, dict[str, str]] = {}
    for group in groups.values():
        ranked = sorted(
            group,
            key=lambda one: ((one.name, one.content) not in known, order.get(one.dataset, len(order)), one.name),
        )
        for duplicate in ranked[1:]:
            found.setdefault(duplicate.path, {})[duplicate.name] = ranked[0].name
    return found


def _sharers(store: Store, paths: Sequence[str]) -> Iterator[_Sharer]:
    """Yield the utterances that share their audio; digests that are equal by chance make groups of one."""
    contents = read_contents(store, paths)
    wanted: dict[int, list[int]] = {}
    for group in contents.groups():
        for file, row in zip(group["file"].tolist(), group["row"].tolist(), strict=True):
            wanted.setdefault(file, []).append(row)
    for number in sorted(wanted):
        for row in _spoken(store, paths[number], wanted[number]):
            yield _Sharer(paths[number], row["utterance_id"], row["dataset"], same_audio(row))


def _spoken(store: Store, path: str, rows: Sequence[int] | None = None) -> list[SpokenRow]:
    """The wanted rows of a file, or all with audio: id, dataset and content."""
    table = _read(store, path, ("utterance_id", "dataset"))
    found = (table if rows is None else table.take(pa.array(sorted(rows), pa.int64()))).to_pylist()
    return [cast(SpokenRow, row) for row in found if row["checksum"]]


def _incumbents(build: BuildState, groups: Mapping[Content, Sequence[_Sharer]]) -> set[tuple[str, Content]]:
    """Ids and contents that the parent version has, and does not reject as duplicates; ids as they are called now.

    Missing and damaged files of the parent version are passed over.
    """
    store, now = build.session.store, {file.path for file in build.utterance_files}
    before = {file.path for file in utterance_files(build.parent_receipts("ingest"))}
    names = {source.renamed_from: source.dataset for source in build.config.sources if source.renamed_from}
    rejected = set(_rejected(store, build.parent_receipts("quantize")))
    sharers = (one for group in groups.values() for one in group if one.path in before)
    found = {(one.name, one.content) for one in sharers if one.name not in rejected}
    reads = (partial(_spoken_if_there, store, path) for path in sorted(before - now) if groups)
    for row in chain.from_iterable(read_ahead(reads)):
        if same_audio(row) in groups and row["utterance_id"] not in rejected:
            old = row["dataset"]
            found.add((f"{names.get(old, old)}/{row['utterance_id'].removeprefix(f'{old}/')}", same_audio(row)))
    return found


def _spoken_if_there(store: Store, path: str) -> list[SpokenRow]:
    try:
        return _spoken(store, path)
    except (NotFound, CorruptStore):
        return []


def _rejected(store: Store, receipts: Iterable[Receipt]) -> Iterator[str]:
    """Yield the ids that are rejected as duplicates."""
    files = (file for receipt in receipts if REASON in receipt.rejects for file in receipt.files)
    for file in (file for file in files if file.table == "rejects"):
        with suppress(NotFound, CorruptStore):
            rows = read_table(store, file.path, ["utterance_id", "reason"]).to_pylist()
            yield from (row["utterance_id"] for row in rows if row["reason"] == REASON)
