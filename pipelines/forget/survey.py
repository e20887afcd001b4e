"""Find speech in all versions of a store: its utterances, and the versions, shards and models that hold it."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any

import pyarrow as pa

from pipelines.entries.entries import Signature
from pipelines.forget.wanted import Wanted
from pipelines.reading import read_ahead
from pipelines.records import UtteranceRow, statistics_of
from pipelines.sources.holdings import Line, read_listing
from pipelines.sources.screen import content_of
from pipelines.steps.ingest import normalise_text
from storage.errors import NotFound
from storage.models import ModelCard, find_model, model_names
from storage.receipts import DataFile, Receipt, entries_path
from storage.schemas import TRAINING
from storage.store import Store
from storage.suppression.lists import Suppressed, digest_of
from storage.tables import read_table
from storage.uris import split_version
from storage.versions import load, version_numbers

COLUMNS = ["utterance_id", "dataset", "speaker_id", "text", "source_key", "checksum", "offset_samples", "num_samples"]
OPTIONAL = ["channel", "licence"]


@dataclass
class Units:
    """The work units of all versions of a store.

    Attributes:
        ingest: receipts of `ingest` by fingerprint.
        shards: receipts of `shard` by fingerprint.
        versions: fingerprints of the receipts of `ingest` of each version, by its number.
    """

    ingest: dict[str, Receipt] = field(default_factory=dict[str, Receipt])
    shards: dict[str, Receipt] = field(default_factory=dict[str, Receipt])
    versions: dict[int, set[str]] = field(default_factory=dict[int, set[str]])

    @classmethod
    def of(cls, store: Store) -> "Units":
        """Read all versions, one after the other.

        Raises:
            StorageError: a version cannot be read.
        """
        made = cls()
        for number in version_numbers(store):
            version = load(store, number)
            made.ingest |= {receipt.fingerprint: receipt for receipt in version.steps.get("ingest", ())}
            made.shards |= {receipt.fingerprint: receipt for receipt in version.steps.get("shard", ())}
            made.versions[number] = {receipt.fingerprint for receipt in version.steps.get("ingest", ())}
        return made


@dataclass(frozen=True)
class Found:
    """An utterance or a rejected entry to forget.

    Attributes:
        name: its id.
        dataset: its dataset.
        samples: its length in samples at 16 kHz.
        row: whether it is an utterance.
        digests: what the suppression list says of it.
    """

    name: str
    dataset: str
    samples: int
    row: bool
    digests: Suppressed


@dataclass(frozen=True)
class Survey:
    """Utterances and files of a store that hold the speech to forget.

    Attributes:
        by_unit: by fingerprint of the work unit of `ingest`; only those that hold some.
        versions: numbers of the versions that hold some.
        shards: paths of the training files that hold some.
        models: names of the models that were trained on one of the versions, or started from such a model.
        flacs: SHA-256 of the FLAC of utterances in shards, by id.
    """

    by_unit: Mapping[str, Sequence[Found]]
    versions: Sequence[int]
    shards: Sequence[str]
    models: Sequence[str]
    flacs: Mapping[str, Collection[str]]

    @property
    def found(self) -> list[Found]:
        """All of it; an utterance may be in several versions."""
        return [found for of_unit in self.by_unit.values() for found in of_unit]

    def suppressed(self) -> Iterator[Suppressed]:
        """Yield what a suppression list has to hold."""
        for found in self.found:
            flacs = sorted(self.flacs.get(found.name, ()))
            yield replace(found.digests, flac=next(iter(flacs), None))
            yield from (Suppressed(id=found.digests.id, flac=flac) for flac in flacs[1:])


def survey(store: Store, units: Units, wanted: Wanted) -> Survey:
    """Find all that is wanted, and all other utterances with the same audio.

    Raises:
        StorageError: a version or a table cannot be read.
    """
    first = _search(store, units, wanted, set())
    contents = {found.digests.content for of_unit in first.values() for found in of_unit} - {None}
    by_unit = _search(store, units, wanted, contents) if contents else first
    paths = {file.path for name in by_unit for file in units.ingest[name].files if file.table == "utterances"}
    versions = [number for number, names in units.versions.items() if names & by_unit.keys()]
    names = {found.name for of_unit in by_unit.values() for found in of_unit}
    shards = list(_shards(store, units, paths, names))
    return Survey(by_unit, versions, [f.path for f in shards], _models(store, versions), _flacs(store, shards, names))


def _search(store: Store, units: Units, wanted: Wanted, contents: Collection[str | None]) -> dict[str, list[Found]]:
    jobs = (partial(_found, store, receipt, wanted, contents) for receipt in units.ingest.values())
    found = zip(units.ingest, read_ahead(jobs), strict=True)
    return {name: of_unit for name, of_unit in found if of_unit}


def _found(store: Store, receipt: Receipt, wanted: Wanted, contents: Collection[str | None]) -> list[Found]:
    """Speech to forget that a work unit holds."""
    lines, sizes = entries_of(store, receipt)
    meant = {line["key"] for line in lines if wanted.meets(line["item"])}
    rows: dict[str, list[Any]] = {}
    for file in (file for file in receipt.files if file.table == "utterances"):
        for row in read_table(store, file.path, COLUMNS, OPTIONAL).to_pylist():
            rows.setdefault(row["source_key"].hex(), []).append(row)
    found: list[Found] = []
    for key, of_entry in rows.items():
        chosen = [r for r in of_entry if key in meant or wanted.meets(r) or content_of(r) in contents]
        whole = len(chosen) == len(of_entry)
        found += [_of_row(row, sizes.get(key), None if whole else _entry_id(row)) for row in chosen]
        meant |= {key} if whole else set()
    names = {utterance.name for utterance in found}
    return [*found, *(entry for line in lines if line["key"] in meant for entry in _of_line(line, names))]


def entries_of(store: Store, receipt: Receipt) -> tuple[list[Line], dict[str, int | None]]:
    """Lines of the entries of a work unit, and sizes of their files by key; none in a store that was copied in part."""
    try:
        lines = [json.loads(line) for line in store.get(entries_path(receipt.fingerprint)).splitlines()]
    except NotFound:
        return [], {}
    listing = read_listing(store, receipt.fingerprint)
    signatures = listing.signatures if listing else [None] * len(lines)
    return lines, {line["key"]: _size(line, signed) for line, signed in zip(lines, signatures, strict=True)}


def _size(line: Line, signed: Signature | None) -> int | None:
    """Bytes of the file of an entry's audio; None for audio inside a table."""
    inside = "#row=" in (line["item"].get("uri") or "")
    return None if inside or signed is None else signed[0]


def _entry_id(row: Mapping[str, Any]) -> str:
    return digest_of(row["utterance_id"].rpartition("#channel")[0])


def _of_row(row: UtteranceRow, size: int | None, part_of: str | None) -> Found:
    audio = row["checksum"]
    digests = Suppressed(
        id=digest_of(row["utterance_id"]),
        part_of=part_of,
        audio=audio and digest_of(audio),
        content=content_of(row),
        size=size if audio else None,
        text=row["text"] and digest_of(row["text"]),
    )
    return Found(row["utterance_id"], row["dataset"], row["num_samples"], True, digests)


def _of_line(line: Line, known: Collection[str]) -> Iterator[Found]:
    """Yield a rejected entry, or one with several channels, unless its id is known."""
    item = line["item"]
    name, text = item.get("utterance_id"), normalise_text(item.get("text"))
    if name and name not in known:
        yield Found(name, item["dataset"], 0, False, Suppressed(id=digest_of(name), text=text and digest_of(text)))


def _shards(store: Store, units: Units, paths: set[str], names: set[str]) -> Iterator[DataFile]:
    """Yield the training files with examples of some utterances; a shard says which work units it holds."""
    for receipt in units.shards.values():
        held = statistics_of(receipt).get("holds")
        if held is not None and paths.isdisjoint(utterances for utterances, _ in held):
            continue
        if held is not None:
            yield from receipt.files
        else:
            yield from (file for file in receipt.files if not names.isdisjoint(_example_ids(store, file)))


def _example_ids(store: Store, file: DataFile) -> list[str]:
    return read_table(store, file.path, ["example_id"])["example_id"].to_pylist() if file.table in TRAINING else []


def _flacs(store: Store, shards: Sequence[DataFile], names: Collection[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in (file for file in shards if file.table != "t2c"):
        ids = _example_ids(store, file)
        numbers = [number for number, name in enumerate(ids) if name in names]
        if numbers:
            audio = read_table(store, file.path, ["audio"])["audio"].take(pa.array(numbers, pa.int64())).to_pylist()
            for number, flac in zip(numbers, audio, strict=True):
                found.setdefault(ids[number], set()).add(sha256(flac).hexdigest())
    return found


def _models(store: Store, versions: Collection[int]) -> list[str]:
    """Names of the models that were trained on one of the versions, and of those that started from one of them."""
    cards: list[ModelCard] = []
    for name in model_names(store):
        with suppress(NotFound):
            cards.append(find_model(store, name))
    held = {card.name for card in cards if split_version(card.corpus)[1] in versions}
    while more := {card.name for card in cards if held & {*card.source_models.values()}} - held:
        held |= more
    return sorted(held)
