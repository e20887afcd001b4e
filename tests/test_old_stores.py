"""Check that a corpus built by an earlier revision opens, verifies, is up to date, and grows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.build.build import build
from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.config.build import load_config
from pipelines.steps import computations
from storage.store import Store
from storage.versions import latest
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
    before = contents(HOME / "store")
    for step in computations().values():
        monkeypatch.setattr(step, "open", refuse)
    built = rebuild(config)
    assert (built.new, built.kept, built.added) == (False, 8, 0)
    assert contents(HOME / "store") == before


def test_it_grows_by_what_is_new(config: Path) -> None:
    before = contents(HOME / "store")
    for path in (SAMPLE / "read").glob("05-*"):
        (HOME / "read" / path.name).write_bytes(path.read_bytes())
    built = rebuild(config)
    assert (built.new, built.kept, built.added) == (True, 8, 1)
    after = contents(HOME / "store")
    assert before.items() <= after.items()
    store = Store.open(HOME / "store")
    assert list(verify(store, built.version)) == []
    assert built.version.parent == 1


def test_a_new_build_makes_the_same_bytes(config: Path) -> None:
    old = {path: data for path, data in contents(HOME / "store").items() if path.startswith(("data/", "training/"))}
    config = lay_out()
    built = rebuild(config)
    assert built.new
    new = contents(HOME / "store")
    assert {path: new.get(path) for path in old} == old
