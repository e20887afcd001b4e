"""Rows and audio that a build takes over from its parent version where the audio is the same: none is decoded again.

Missing and damaged files of the parent version are passed over: what they held is computed again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa

from pipelines.engine.state import BuildState
from pipelines.engine.step import Reject
from pipelines.entries.roots import Roots, keep_confined
from pipelines.records import (
    SpokenRow,
    UnitsFiles,
    UtteranceFile,
    UtteranceRow,
    spoken_rows,
    statistics_of,
    utterance_files,
)
from pipelines.sources.audio_files import Content, same_audio
from pipelines.sources.digests import Line
from pipelines.sources.duplicates import REASON
from storage.errors import CorruptStore, NotFound
from storage.receipts import Receipt, read_receipt
from storage.store import Store
from storage.suppression.names import under
from storage.tables import read_table

UnitsRow = dict[str, Any]
"""A row of the table `units`."""


def sources_of(build: BuildState) -> dict[str, list[UtteranceFile]]:
    """Files of the parent version that the rows of each file of utterances may have been taken from.

    A file of the parent version is its own source.
    """
    before = {receipt.fingerprint: utterance_files([receipt]) for receipt in build.parent_receipts("ingest")}
    found: dict[str, list[UtteranceFile]] = {}
    for receipt in build.steps["ingest"]:
        taken = (*statistics_of(receipt).get("taken", ()), *build.taken.get(receipt.fingerprint, ()))
        names = dict.fromkeys((receipt.fingerprint, *taken))
        old = [file for name in names for file in before.get(name, ())]
        for file in utterance_files([receipt]):
            found[file.path] = [file] if file in old else old
    return found


def units_files(build: BuildState) -> dict[str, UnitsFiles]:
    """Units and rejects of each file of utterances of the parent version, by its path."""
    files = utterance_files(build.parent_receipts("ingest"))
    return {
        file.path: UnitsFiles(utterances=file.path, units=receipt.files[0].path, rejects=_rejects(receipt))
        for file, receipt in zip(files, build.parent_receipts("quantize"), strict=True)
    }


def _rejects(receipt: Receipt) -> str | None:
    return next((file.path for file in receipt.files if file.table == "rejects"), None)


@dataclass(frozen=True)
class TakenRows:
    """Rows and rejects of earlier work units, by the keys of their entries.

    Attributes:
        work_units: fingerprints of the earlier work units.
        rows: utterances.
        rejects: rejected entries.
        contents: SHA-256 of the files of rejected entries, as far as known, by hexadecimal key.
        roots: roots of the datasets, for entries that are read now.
    """

    work_units: Sequence[str] = ()
    rows: Mapping[bytes, Sequence[UtteranceRow]] = field(default_factory=dict[bytes, Sequence[UtteranceRow]])
    rejects: Mapping[bytes, Sequence[Reject]] = field(default_factory=dict[bytes, Sequence[Reject]])
    contents: Mapping[str, str] = field(default_factory=dict[str, str])
    roots: Roots = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, store: Store, step: str, work_units: Sequence[str], roots: Roots) -> Self:
        """Read the rows of earlier work units of a step.

        Raises:
            StorageError: the store does not answer.
        """
        keep_confined(roots)
        rows: dict[bytes, list[UtteranceRow]] = {}
        rejects: dict[bytes, list[Reject]] = {}
        contents: dict[str, str] = {}
        for name in work_units:
            receipt = read_receipt(store, step, name)
            contents |= statistics_of(receipt).get("rejected", {}) if receipt else {}
            for file in receipt.files if receipt else ():
                for row in _rows(store, file.path):
                    if file.table == "utterances":
                        rows.setdefault(row["source_key"], []).append(row)
                    else:
                        del row["step"]
                        rejects.setdefault(row["source_key"], []).append(Reject(**row))
        return cls(work_units, rows, rejects, contents, roots)

    def renamed(self, line: Line) -> list[UtteranceRow]:
        """Rows of an entry whose file is gone, under the new name of its dataset; none of another entry."""
        key, dataset = bytes.fromhex(line["key"]), line["item"]["dataset"]
        return [
            {
                **row,
                "utterance_id": under(row["utterance_id"], dataset),
                "dataset": dataset,
                "source_key": key,
            }
            for row in self.rows.get(bytes.fromhex(line.get("was", "")), ())
        ]


class TakenUnits:
    """Units and rejects of earlier work units, without rejects that depend on other utterances.

    Args:
        store: the corpus.
        files: the earlier work units.
        wanted: utterances whose units are wanted.

    Raises:
        StorageError: the store does not answer.
    """

    def __init__(self, store: Store, files: Iterable[UnitsFiles], wanted: Iterable[SpokenRow]) -> None:
        self.units: dict[Content, UnitsRow] = {}
        self.rejects: dict[tuple[bytes, Content], Reject] = {}
        contents = {same_audio(row) for row in wanted}
        for file in files:
            rows = spoken_rows(_rows(store, file["utterances"]))
            by_id = {row["utterance_id"]: row for row in rows if same_audio(row) in contents}
            if by_id:
                self._add(store, file, by_id)

    def _add(self, store: Store, file: UnitsFiles, by_id: Mapping[str, SpokenRow]) -> None:
        for units in _rows(store, file["units"]):
            if row := by_id.get(units["utterance_id"]):
                self.units[same_audio(row)] = units
        for reject in _rows(store, file["rejects"]) if file["rejects"] else ():
            row = by_id.get(reject["utterance_id"])
            if row and reject["reason"] != REASON:
                del reject["step"]
                self.rejects[reject["source_key"], same_audio(row)] = Reject(**reject)

    def units_of(self, row: SpokenRow) -> UnitsRow | None:
        """The row of the table `units` of an utterance; None if its audio was not quantized before."""
        found = self.units.get(same_audio(row))
        return found and {**found, "utterance_id": row["utterance_id"], "dataset": row["dataset"]}

    def reject_of(self, row: SpokenRow) -> Reject | None:
        """The reject of an utterance about which nothing has changed."""
        return self.rejects.get((row["source_key"], same_audio(row)))


def taken_flacs(
    store: Store, utterances: Iterable[str], shards: Iterable[str], wanted: Mapping[str, SpokenRow]
) -> dict[str, bytes]:
    """FLAC of utterances with the same audio in earlier shards, by utterance id.

    Args:
        store: the corpus.
        utterances: paths of tables `utterances` of the earlier version.
        shards: paths of its training tables with audio.
        wanted: utterances by id.

    Raises:
        StorageError: the store does not answer.
    """
    contents: dict[Content, list[str]] = {}
    for name, row in wanted.items():
        contents.setdefault(same_audio(row), []).append(name)  # several utterances may be the same audio
    old: dict[str, list[str]] = {}
    for path in utterances:
        for row in spoken_rows(_rows(store, path)):
            if names := contents.get(same_audio(row)):
                old[row["utterance_id"]] = names
    found: dict[str, bytes] = {}
    for path in shards:
        for name, audio in _examples(store, path, {name for name in old if not found.keys() >= {*old[name]}}):
            found |= dict.fromkeys(old[name], audio)
    return found


def _examples(store: Store, path: str, ids: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield id and audio of the wanted examples of a training table."""
    if not ids:
        return
    with suppress(NotFound, CorruptStore):
        names = read_table(store, path, ["example_id"])["example_id"].to_pylist()
        rows = [number for number, name in enumerate(names) if name in ids]
        if rows:
            audio: pa.ChunkedArray = read_table(store, path, ["audio"])["audio"].take(pa.array(rows, pa.int64()))
            yield from zip((names[row] for row in rows), audio.to_pylist(), strict=True)


def _rows(store: Store, path: str) -> list[Any]:
    """Rows of a table; none if it is missing or damaged."""
    try:
        return read_table(store, path).to_pylist()
    except (NotFound, CorruptStore):
        return []
