"""Check that a corpus built by an earlier revision opens, verifies, is up to date, and grows."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.build.build import build
from pipelines.build.commit import Built
from pipelines.build.statistics import from_version
from pipelines.build.verify import verify
from pipelines.config.build import load_config
from pipelines.steps import computations, steps, table_steps
from storage.receipts import DataFile
from storage.store import Store
from storage.tables import read_table, rows_to_parquet
from storage.versions import Version, latest
from tests.fixtures.store import HOME, SAMPLE, lay_out, only_one, unpack

QUIET = Console(quiet=True)


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


def test_it_is_up_to_date_with_no_work_done(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that did not exist then would have work to do; the others have none."""
    before = contents(HOME / "store")
    version = latest(Store.open(HOME / "store"))
    assert version is not None
    known = {name: step for name, step in steps().items() if name in version.steps or name not in table_steps()}
    monkeypatch.setattr("pipelines.build.build.steps", lambda: known)
    for step in computations().values():
        monkeypatch.setattr(step, "open", refuse)
    built = rebuild(config)
    assert (built.new, built.changes.kept, built.changes.new) == (False, 8, 0)
    assert contents(HOME / "store") == before


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


def counted(version: Version) -> dict[str, Any]:
    return {name: counts.to_dict() for name, counts in from_version(version.statistics).items()}


def as_before(store: Store, file: DataFile) -> DataFile:
    """A file as the earlier revision wrote it: without checksums of pages."""
    data = rows_to_parquet(file.table, read_table(store, file.path), page_checksums=False)
    return replace(file, path="", bytes=len(data), sha256=sha256(data).hexdigest())


def test_a_new_build_makes_the_same_rows_and_but_for_checksums_the_same_bytes(config: Path) -> None:
    """Files have checksums of their pages now, so their own checksums are others.

    These are part of names and of the fingerprints of later steps. Those of `ingest`, the first step, are the same.
    """
    old = latest(Store.open(HOME / "store"))
    assert old is not None
    config = lay_out()
    built = rebuild(config)
    assert built.new
    store = Store.open(HOME / "store")
    for step, receipts in old.steps.items():
        found = built.version.steps[step]
        assert [[as_before(store, file) for file in receipt.files] for receipt in found] == [
            [replace(file, path="") for file in receipt.files] for receipt in receipts
        ]
        assert [(r.rows_in, r.rows_out, r.rejects, r.stats) for r in found] == [
            (r.rows_in, r.rows_out, r.rejects, r.stats) for r in receipts
        ]
    fingerprints = [[r.fingerprint for r in version.steps["ingest"]] for version in (old, built.version)]
    assert fingerprints[0] == fingerprints[1]
    assert counted(built.version) == counted(old)
