"""Digests tell what the lists of entries tell; what they do not cover is read from these."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.sources import duplicates
from pipelines.sources.digests import FORMAT, put_digests, read_digests
from pipelines.sources.holdings import Holdings
from storage.lists.files import list_path
from storage.store import Store
from storage.versions import Version, load

Config = dict[str, Any]
RunBuild = Callable[..., Built]


class Reads:
    """Paths that are read from stores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        get = Store.get

        def noted(store: Store, path: str) -> bytes:
            self.paths.append(path)
            return get(store, path)

        monkeypatch.setattr(Store, "get", noted)

    def entries(self) -> set[str]:
        """Work units whose lists of entries were read since the last call."""
        paths, self.paths = self.paths, []
        return {Path(path).stem for path in paths if path.startswith(("data/items/", "data/listings/"))}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def folder(config: Config, speech: Path, tmp_path: Path) -> Path:
    """A source of 12 clips, in three work units, that a test may change."""
    own = Path(shutil.copytree(speech, tmp_path / "own"))
    config["sources"][0]["path"] = str(own)
    return own


def units(version: Version) -> Sequence[str]:
    return [receipt.fingerprint for receipt in version.steps["ingest"]]


def held(store: Store, version: Version, **options: Any) -> tuple[Any, ...]:
    """All that a comparison asks of the holdings of a version."""
    made = Holdings(store, version.steps["ingest"], **options)
    return made.groups, [(chunk.signatures, chunk.older, chunk.rights) for chunk in made.chunks]


def test_digests_tell_what_the_entries_tell(config: Config, folder: Path, run_build: RunBuild, reads: Reads) -> None:
    (folder / "clip001.wav").write_bytes(b"no audio")
    version = run_build({**config, "max_reject_ratio": 0.5}).version
    store = Store.open(config["store"])
    digests = read_digests(store, load(store, 1))
    assert sorted(digests) == sorted(units(version))
    reads.entries()
    found = held(store, version, digests=digests)
    assert reads.entries() == set()
    assert found == held(store, version)
    assert reads.entries() == {*units(version)}


def test_a_dataset_with_a_new_name_is_read_from_the_entries(config: Config, run_build: RunBuild) -> None:
    version = run_build(config).version
    store = Store.open(config["store"])
    renamed = held(store, version, renamed={"clips": "other"})
    assert held(store, version, renamed={"clips": "other"}, digests=read_digests(store, version)) == renamed
    assert renamed[0].keys() != held(store, version)[0].keys()


def test_a_night_reads_no_list_of_entries_of_a_work_unit_that_stays(
    config: Config, folder: Path, run_build: RunBuild, make_speech: Callable[..., Path], reads: Reads
) -> None:
    first = run_build(config).version
    reads.entries()
    assert not run_build(config).new
    assert reads.entries() == set()
    make_speech(folder, 1, start=30)
    second = run_build(config)
    assert (second.changes.new, second.changes.kept) == (1, 12)
    assert reads.entries() == {*units(second.version)} - {*units(first)}
    assert not run_build(config).new
    assert reads.entries() == set()


def test_signatures_that_changed_since_make_a_digest_invalid(
    config: Config, folder: Path, run_build: RunBuild, make_speech: Callable[..., Path], reads: Reads
) -> None:
    """A file with another time is looked at once, and then known, although no version is committed."""
    run_build(config)
    os.utime(folder / "clip000.wav", (1, 1))
    assert not run_build(config).new
    reads.entries()
    assert not run_build(config).new
    assert len(reads.entries()) == 1
    make_speech(folder, 1, start=30)
    assert run_build(config).changes.kept == 12
    reads.entries()
    assert not run_build(config).new
    assert reads.entries() == set()


@pytest.mark.parametrize("damage", [b"", b"{}\n", None])
def test_lost_or_damaged_digests_cost_nothing_but_time(
    config: Config, folder: Path, run_build: RunBuild, make_speech: Callable[..., Path], reads: Reads, damage: Any
) -> None:
    first = run_build(config).version
    store = Store.open(config["store"])
    assert first.entries is not None
    (name,) = first.entries.lists
    store.delete(list_path(name))
    if damage is not None:
        store.put(list_path(name), damage)
    reads.entries()
    assert not run_build(config).new
    assert reads.entries() == {*units(first)}
    make_speech(folder, 1, start=30)
    assert run_build(config).changes.kept == 12
    reads.entries()
    assert not run_build(config).new
    assert reads.entries() == set()


def test_digests_of_another_format_are_made_anew(
    config: Config, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = run_build(config).version
    store = Store.open(config["store"])
    monkeypatch.setattr("pipelines.sources.digests.FORMAT", FORMAT + 1)
    assert read_digests(store, version) == {}
    layout = put_digests(store, version.steps["ingest"], version, {})
    lines = store.get(list_path(layout.lists[0])).splitlines()
    assert [json.loads(line)["format"] for line in lines] == [FORMAT + 1] * len(units(version))


def test_a_version_without_digests_has_none(config: Config, run_build: RunBuild) -> None:
    version = run_build(config).version
    assert read_digests(Store.open(config["store"]), None) == {}
    assert version.entries is not None
    assert {*version.entries.lists} <= {*version.contents.lists}


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of utterances that are read to compare their audio."""
    paths: list[str] = []
    read = duplicates._read  # pyright: ignore[reportPrivateUsage]

    def noted(store: Store, path: str, more: Sequence[str]) -> Any:
        paths.append(path)
        return read(store, path, more)

    monkeypatch.setattr(duplicates, "_read", noted)
    return paths


def utterances(version: Version) -> set[str]:
    return {file.path for file in version.files("utterances")}


@pytest.mark.parametrize("older", [False, True])
def test_a_night_reads_new_files_of_utterances_alone_to_count_shared_audio(
    config: Config,
    folder: Path,
    run_build: RunBuild,
    heard: list[str],
    monkeypatch: pytest.MonkeyPatch,
    older: bool,
) -> None:
    """A version of an older program does not keep which audio it has; then all files are read, once."""
    with monkeypatch.context() as patch:
        if older:
            patch.setattr("pipelines.build.commit.put_digests", lambda *given: put_digests(*given[:-1]))
        first = run_build(config).version
    assert {*heard} == utterances(first)
    heard.clear()
    for name in ("clip000.wav", "clip001.wav"):
        shutil.copy(folder / name, folder / f"same-{name}")
    second = run_build(config).version
    assert {*heard} == (utterances(second) if older else utterances(second) - utterances(first))
    assert [pair["utterances"] for pair in second.statistics["shared_audio"]] == [2]
    heard.clear()
    (folder / "same-clip000.wav").unlink()
    third = run_build({**config, "gone": "remove", "sources": [{**config["sources"][0], "gone": "remove"}]}).version
    assert {*heard} == utterances(third) - utterances(second)
    assert [pair["utterances"] for pair in third.statistics["shared_audio"]] == [1]
    assert list(verify(Store.open(config["store"]), third)) == []
