"""The same audio under several ids: counted, and rejected if the config says so."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.report.facts import facts
from pipelines.build.commit import Built
from pipelines.build.repair import repair
from pipelines.build.verify import verify
from pipelines.diff.compare import compare
from pipelines.sources import audio_files
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version
from tests.speech import write_speech

pytestmark = pytest.mark.slow

Config = dict[str, Any]
RunBuild = Callable[..., Built]


@pytest.fixture
def two(config: Config, tmp_path: Path) -> tuple[Path, Path]:
    """Two sources with 8 and 5 clips; `b` has 3 of `a`, and one of its own twice; `a` has one twice."""
    a, b = write_speech(tmp_path / "a", 7), write_speech(tmp_path / "b", 1, start=20)
    copy(a, "clip000.wav", a, "again.wav")
    for number in (1, 2, 3):
        copy(a, f"clip{number:03d}.wav", b, f"same{number}.wav")
    copy(b, "clip020.wav", b, "twice.wav")
    config["sources"] = [
        {"kind": "folder", "path": str(a), "dataset": "a", "gone": "remove"},
        {"kind": "folder", "path": str(b), "dataset": "b", "gone": "remove"},
    ]
    config["max_reject_ratio"] = 1
    return a, b


def copy(source: Path, name: str, target: Path, other: str) -> None:
    shutil.copy(source / name, target / other)


def shared(version: Version) -> list[tuple[str, int]]:
    pairs = facts(Store.open(version.store), version)["shared_audio"] or []
    return [(" ".join(pair["datasets"]), pair["utterances"]) for pair in pairs]


def rejected(version: Version) -> dict[str, str]:
    """Reason and message of rejects by id."""
    store = Store.open(version.store)
    rows = [row for file in version.files("rejects") for row in read_table(store, file.path).to_pylist()]
    found = {row["utterance_id"]: f"{row['reason']}: {row['message']}" for row in rows}
    assert len(found) == len(rows)
    return found


def same_as(name: str) -> str:
    return f"duplicate_content: the same audio as utterance {name}"


def check_whole(version: Version) -> None:
    assert list(verify(Store.open(version.store), version)) == []


def no_decoding(*_: object) -> Any:
    raise AssertionError("audio was decoded")


EXPECTED = {
    "a/clip000.wav": same_as("a/again.wav"),
    "b/twice.wav": same_as("b/clip020.wav"),
    **{f"b/same{number}.wav": same_as(f"a/clip{number:03d}.wav") for number in (1, 2, 3)},
}


def test_they_are_kept_and_counted_by_datasets(config: Config, two: tuple[Path, Path], run_build: RunBuild) -> None:
    version = run_build(config).version
    assert shared(version) == [("a a", 1), ("a b", 3), ("b b", 1)]
    assert rejected(version) == {}
    hours = facts(Store.open(version.store), version)["shared_audio"] or []
    assert hours[1]["hours"] == pytest.approx((2.1 + 2.2 + 2.3) / 3600)
    check_whole(version)


def test_all_but_one_are_rejected(config: Config, two: tuple[Path, Path], run_build: RunBuild) -> None:
    built = run_build({**config, "duplicates": "reject"})
    assert (rejected(built.version), shared(built.version)) == (EXPECTED, [])
    check_whole(built.version)
    assert not run_build({**config, "duplicates": "reject"}).new


def test_the_config_decides_who_is_first_and_not_the_sizes_of_work_units(
    config: Config, two: tuple[Path, Path], run_build: RunBuild
) -> None:
    config["sources"].reverse()
    found = rejected(run_build({**config, "duplicates": "reject", "work_units": {"minutes": 0.05, "items": 2}}).version)
    assert found["a/clip002.wav"] == same_as("b/same2.wav")
    assert found.keys() == {"a/clip000.wav", "b/twice.wav", *(f"a/clip{number:03d}.wav" for number in (1, 2, 3))}


def test_rejecting_them_later_and_keeping_them_again(
    config: Config, two: tuple[Path, Path], run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_build(config).version
    monkeypatch.setattr(audio_files, "stream_segments", no_decoding)
    second = run_build({**config, "duplicates": "reject"}).version
    assert rejected(second) == EXPECTED
    check_whole(second)
    monkeypatch.undo()
    third = run_build(config).version
    assert (rejected(third), shared(third)) == ({}, shared(first))
    check_whole(third)


def test_a_night_adds_a_duplicate_and_the_old_utterance_wins(
    config: Config, two: tuple[Path, Path], run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = two
    config["duplicates"] = "reject"
    first = run_build(config).version
    copy(a, "clip005.wav", a, "aaa.wav")
    (a / "clip005.txt").write_text("mended")
    monkeypatch.setattr(audio_files, "stream_segments", no_decoding)
    second = run_build(config).version
    assert rejected(second) == EXPECTED | {"a/aaa.wav": same_as("a/clip005.wav")}
    store = Store.open(second.store)
    came = compare((store, first), (store, second))["rejects"]["duplicate_content"]
    assert came == {"came": 1, "went": 0, "healed": 0}
    check_whole(second)
    assert not run_build(config).new


def test_the_second_heals_when_the_first_goes(config: Config, two: tuple[Path, Path], run_build: RunBuild) -> None:
    a, _ = two
    config["duplicates"] = "reject"
    first = run_build(config).version
    (a / "clip002.wav").unlink()
    second = run_build(config).version
    assert rejected(second) == {name: why for name, why in EXPECTED.items() if name != "b/same2.wav"}
    store = Store.open(second.store)
    units = [n for f in second.files("units") for n in read_table(store, f.path)["utterance_id"].to_pylist()]
    assert "b/same2.wav" in units
    assert compare((store, first), (store, second))["rejects"]["duplicate_content"]["healed"] == 1
    check_whole(second)
    copy(two[1], "same2.wav", a, "clip002.wav")
    third = run_build(config).version
    assert rejected(third)["a/clip002.wav"] == same_as("b/same2.wav"), "the one that the corpus has wins"
    check_whole(third)


def test_other_contents_heal_too(config: Config, two: tuple[Path, Path], run_build: RunBuild, tmp_path: Path) -> None:
    config["duplicates"] = "reject"
    run_build(config)
    copy(write_speech(tmp_path / "c", 1, start=30), "clip030.wav", two[0], "clip003.wav")
    found = rejected(run_build(config).version)
    assert found == {name: why for name, why in EXPECTED.items() if name != "b/same3.wav"}


def test_a_renamed_dataset_keeps_what_it_has(config: Config, two: tuple[Path, Path], run_build: RunBuild) -> None:
    config["duplicates"] = "reject"
    config["sources"].reverse()
    run_build(config)
    config["sources"].reverse()
    config["sources"][1] |= {"dataset": "c", "renamed_from": "b"}
    found = rejected(run_build(config).version)
    assert found["a/clip002.wav"] == same_as("c/same2.wav")


def test_segments_of_one_file_are_no_duplicates(config: Config, two: tuple[Path, Path], run_build: RunBuild) -> None:
    a, _ = two
    table = a.parent / "parts.csv"
    whole = str(a / "clip000.wav")
    table.write_text(f"audio,start,end,id\n{whole},0,0.5,x\n{whole},0.5,1,y\n{whole},0.5,1,z\n{whole},0,1,w\n")
    config["sources"] = [{"kind": "manifest", "path": str(table), "dataset": "p"}]
    config |= {"quantizer": {"k": 10, "iterations": 3}, "unit_language": {"vocab_size": 20}}
    assert shared(run_build(config).version) == [("p p", 1)]
    assert rejected(run_build({**config, "duplicates": "reject"}).version) == {"p/z": same_as("p/y")}


def test_lost_units_are_repaired(config: Config, two: tuple[Path, Path], run_build: RunBuild) -> None:
    a, _ = two
    config["duplicates"] = "reject"
    run_build(config)
    copy(a, "clip005.wav", a, "aaa.wav")
    version = run_build(config).version
    store = Store.open(version.store)
    for file in version.files("units"):
        store.delete(file.path)
    assert {made.fault for made in repair(store, version)} == {""}
    check_whole(version)
