"""Check that a corpus built by an earlier revision opens, verifies, is up to date, and grows."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.build.build import build
from pipelines.build.collect import collect
from pipelines.build.commit import Built
from pipelines.build.statistics import from_version
from pipelines.build.verify import verify
from pipelines.config.build import load_config
from pipelines.forget.absent import said_by_others, search
from pipelines.forget.erase import erase
from pipelines.forget.forget import forget
from pipelines.forget.traces import Traces
from pipelines.forget.wanted import Wanted
from pipelines.steps import computations, steps, table_steps
from storage.receipts import DataFile, Receipt
from storage.store import Store
from storage.tables import read_table, rows_to_parquet
from storage.versions import Version, latest
from tests.fixtures.store import HOME, SAMPLE, lay_out, only_one, unpack

QUIET = Console(quiet=True)
ROOTS = {"read": "read", "reading": "tts", "questions": "dialogues"}
"""Folders of the audio of the datasets, in `HOME`."""


def rebuild(config: Path, *changes: str) -> Built:
    return build(load_config(config, changes), QUIET)


def contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def refuse(*_: object) -> Any:
    raise AssertionError("a step was opened although there is nothing to do")


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with only_one():
        yield


@pytest.fixture
def config() -> Path:
    return unpack()


def test_it_is_whole(config: Path) -> None:
    store = Store.open(HOME / "store")
    version = latest(store)
    assert version is not None
    assert "grid" not in store.get(f"{version.artifacts['quantizer'].path}/card.json").decode()
    assert list(verify(store, version)) == []


def allow_no_work(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse all work of the steps that made a version; builds leave out younger steps, which would have some."""
    known = {name: step for name, step in steps().items() if name in version.steps or name not in table_steps()}
    monkeypatch.setattr("pipelines.build.build.steps", lambda: known)
    for step in computations().values():
        monkeypatch.setattr(step, "open", refuse)


def test_it_is_up_to_date_with_no_work_done(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that did not exist then would have work to do; the others have none."""
    before = contents(HOME / "store")
    version = latest(Store.open(HOME / "store"))
    assert version is not None
    allow_no_work(version, monkeypatch)
    built = rebuild(config)
    assert (built.new, built.changes.kept, built.changes.new) == (False, 8, 0)
    after = contents(HOME / "store")
    assert {path: data for path, data in after.items() if not path.startswith("data/listings/")} == before
    assert not rebuild(config).new
    assert contents(HOME / "store") == after


def test_higher_revisions_of_all_steps_leave_it_as_it_is(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its receipts do not state their revision; they are known by their names."""
    version = latest(Store.open(HOME / "store"))
    assert version is not None
    known = {name: step for name, step in steps().items() if name in version.steps or name not in table_steps()}
    monkeypatch.setattr("pipelines.build.build.steps", lambda: known)
    for step in computations().values():
        monkeypatch.setattr(step, "revision", step.revision + 1)
        monkeypatch.setattr(step, "open", refuse)
    assert not rebuild(config).new


def test_it_grows_by_what_is_new(config: Path) -> None:
    before = contents(HOME / "store")
    for path in (SAMPLE / "read").glob("05-*"):
        (HOME / "read" / path.name).write_bytes(path.read_bytes())
    built = rebuild(config)
    assert (built.new, built.changes.kept, built.changes.new) == (True, 8, 1)
    after = contents(HOME / "store")
    assert before.items() <= after.items()
    store = Store.open(HOME / "store")
    assert list(verify(store, built.version)) == []
    assert built.version.parent == 1


def test_it_is_whole_and_up_to_date_after_gc(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no signatures of entries; what it refers to stays, with the receipts of its work units."""
    store = Store.open(HOME / "store")
    before = contents(HOME / "store")
    version = latest(store)
    assert version is not None
    removed = {file.path for phase in collect(store, grace_seconds=0).phases for file in phase}
    assert removed == {path for path in before if "/sample_features/" in path}
    assert list(verify(store, version)) == []
    allow_no_work(version, monkeypatch)
    built = rebuild(config)
    assert (built.new, built.changes.kept, built.changes.new) == (False, 8, 0)


def test_sources_that_moved_are_matched_by_their_audio(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older program stored absolute paths; they are replaced once, and nothing is decoded."""
    old = latest(Store.open(HOME / "store"))
    assert old is not None
    for folder in ROOTS.values():
        (HOME / folder).rename(HOME / f"{folder}-moved")
    config.write_text(
        config.read_text()
        .replace("path: read", "path: read-moved")
        .replace("path: tts", "path: tts-moved")
        .replace("path: dialogues/", "path: dialogues-moved/")
    )
    monkeypatch.setattr("pipelines.sources.audio_files.stream_segments", refuse)
    built = rebuild(config)
    assert (built.changes.new, built.changes.mended, built.changes.kept) == (0, 8, 0)
    assert list(verify(Store.open(HOME / "store"), built.version)) == []
    assert [row["units"] for row in rows_of(built.version, "units")] == [row["units"] for row in rows_of(old, "units")]
    assert not rebuild(config).new


def counted(version: Version) -> dict[str, Any]:
    return {name: counts.to_dict() for name, counts in from_version(version.statistics).items()}


def as_before(store: Store, file: DataFile) -> DataFile:
    """A file as the earlier revision wrote it: without checksums of pages."""
    data = rows_to_parquet(file.table, read_table(store, file.path), page_checksums=False)
    return replace(file, path="", bytes=len(data), sha256=sha256(data).hexdigest())


def test_a_new_build_makes_the_same_rows_and_but_for_checksums_the_same_bytes(config: Path) -> None:
    """Files have checksums of their pages now, and paths of audio start at the root of their source.

    Checksums are part of names and of the fingerprints of later steps.
    """
    old = latest(Store.open(HOME / "store"))
    assert old is not None
    before = rows_of(old, "utterances")
    config = lay_out()
    built = rebuild(config)
    assert built.new
    store = Store.open(HOME / "store")
    assert [
        row | audio(str(HOME / ROOTS[row["dataset"]]), row) for row in rows_of(built.version, "utterances")
    ] == before
    for step in old.steps.keys() - {"ingest"}:
        receipts, found = old.steps[step], built.version.steps[step]
        assert [[as_before(store, file) for file in receipt.files] for receipt in found] == [
            [replace(file, path="") for file in receipt.files] for receipt in receipts
        ]
        assert [(r.rows_in, r.rows_out, r.rejects, counts_of(r)) for r in found] == [
            (r.rows_in, r.rows_out, r.rejects, counts_of(r)) for r in receipts
        ]
    assert counted(built.version) == counted(old)


def counts_of(receipt: Receipt) -> dict[str, Any]:
    """Statistics of a receipt without paths, and without revision and contents, which older receipts do not state."""
    return {name: value for name, value in receipt.stats.items() if name not in {"contents", "holds", "revision"}}


def rows_of(version: Version, table: str) -> list[dict[str, Any]]:
    """Rows of a table without the digests of their entries."""
    store = Store.open(version.store)
    rows = [row for file in version.files(table) for row in read_table(store, file.path).to_pylist()]
    return [{name: value for name, value in row.items() if name != "source_key"} for row in rows]


def audio(root: str, row: dict[str, Any]) -> dict[str, Any]:
    """The column `audio` with an absolute path."""
    return {"audio": row["audio"] and {**row["audio"], "uri": f"{root}/{row['audio']['uri']}"}}


def test_speech_is_forgotten_and_erased(config: Path) -> None:
    """The list of entries of an old store has absolute paths, and its shards do not say what they hold."""
    store = Store.open(HOME / "store")
    before = latest(store)
    assert before is not None
    names = [row["utterance_id"] for f in before.files("utterances") for row in read_table(store, f.path).to_pylist()]
    found = forget(store.uri, Wanted(ids=frozenset({names[0], names[-1]})), "a letter", QUIET)
    assert (found.utterances, found.versions, found.built.version.number) == (2, [before.number], before.number + 1)
    assert {file.table for file in before.files("s2t")} <= {path.split("/")[1] for path in found.shards}
    assert list(verify(store, found.built.version)) == []
    assert not rebuild(config).new
    erase(store.uri)
    sought = Traces.of(store)
    sought = sought.besides(said_by_others(store, sought))
    assert [file for file in search(store, sought) if file.found] == []
    assert not rebuild(config).new
