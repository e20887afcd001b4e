"""Dialogues whose rows have no turn numbers: a turn that is missing leaves a gap, and the others keep their places."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.forget.forget import forget
from pipelines.forget.wanted import Wanted
from pipelines.readers import manifest
from pipelines.sources import audio_files, screen
from storage.store import Store
from storage.versions import Version
from tests.pipelines.conftest import rows
from tests.speech import RATE, voice

Config = dict[str, Any]
RunBuild = Callable[..., Built]
Told = list[dict[str, Any] | str]
TABLES = ("utterances", "rejects", "units", "unit_language", "s2t", "t2c", "echo")
TURNS = 6


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A manifest of one dialogue of six turns without numbers, and of a second one."""
    folder = tmp_path / "talk"
    folder.mkdir()
    told: Told = []
    for dialogue in ("a", "b"):
        for turn in range(TURNS):
            name = f"{dialogue}{turn}.wav"
            soundfile.write(folder / name, voice(1 + 0.1 * turn, len(told)), RATE, subtype="PCM_16")
            role = "user" if turn % 2 == 0 else "assistant"
            told.append({"audio": name, "text": f"says {name}", "dialogue_id": dialogue, "role": role})
    write(folder / "talk.jsonl", told)
    return folder / "talk.jsonl"


@pytest.fixture
def config(config: Config, talk: Path, tmp_path: Path) -> Config:
    """Builds of it with a codebook of their own, so that units do not depend on the history."""
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((12, 39)).astype(np.float32) * 20)
    return config | {
        "sources": [{"kind": "manifest", "path": str(talk), "dataset": "talk"}],
        "quantizer": {"centroids": str(tmp_path / "c.npy")},
        "max_reject_ratio": 1.0,
    }


def write(manifest: Path, told: Told) -> None:
    manifest.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in told))


def read(manifest: Path) -> Told:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def turns(version: Version, dialogue: str = "a") -> dict[str, int | None]:
    """Turn numbers of a dialogue by the names of the files."""
    found = {row["audio"]["uri"]: row for row in rows(version, "utterances").values()}
    return {name: row["turn"] for name, row in sorted(found.items()) if row["dialogue_id"] == dialogue}


def exchanges(version: Version) -> list[str]:
    """Questions of the first dialogue that have an answer."""
    return sorted(name.removeprefix("talk/") for name in rows(version, "echo") if name.startswith("talk/a"))


def equals_a_new_one(version: Version, config: Config, run_build: RunBuild, tmp_path: Path) -> None:
    """Compare with a corpus that is built from scratch with the same unit language, and expect no further work."""
    assert list(verify(Store.open(version.store), version)) == []
    again = run_build(config)
    assert not again.new
    values = {name: value for name, value in config.items() if name not in ("quantizer", "unit_language")}
    lists = Path(version.store) / "suppressed"
    fresh = tmp_path / f"fresh{version.number}"
    for path in lists.glob("*.json") if lists.exists() else ():
        (fresh / "suppressed").mkdir(parents=True, exist_ok=True)
        (fresh / "suppressed" / path.name).write_bytes(path.read_bytes())
    made = run_build({**values, "store": str(fresh), "artifacts_from": f"{version.store}@{version.number}"}).version
    for table in TABLES:
        assert rows(version, table) == rows(made, table), table


def test_a_dialogue_without_a_gap_has_no_numbers(config: Config, run_build: RunBuild) -> None:
    """Rows are as the source states them, so that corpora of older programs stay as they are."""
    version = run_build(config).version
    assert turns(version) == {f"a{turn}.wav": None for turn in range(TURNS)}
    assert exchanges(version) == ["a0.wav", "a2.wav", "a4.wav"]


def broken_audio(talk: Path, told: Told) -> None:
    (talk.parent / "a1.wav").write_bytes(b"no audio")


def bad_segment(talk: Path, told: Told) -> None:
    told[1] = {**row_of(told, 1), "start": 100.0, "end": 101.0}


def bad_role(talk: Path, told: Told) -> None:
    told[1] = {**row_of(told, 1), "role": "narrator"}


def no_audio(talk: Path, told: Told) -> None:
    told[1] = {**row_of(told, 1), "audio": None}


def no_json(talk: Path, told: Told) -> None:
    told[1] = '{"audio": "a1.wav", "dialogue_id": "a"'


def bad_dialogue(talk: Path, told: Told) -> None:
    told[1] = {**row_of(told, 1), "dialogue_id": ["a"]}


def too_short(talk: Path, told: Told) -> None:
    soundfile.write(talk.parent / "a1.wav", np.zeros(20), RATE, subtype="PCM_16")


def row_of(told: Told, number: int) -> dict[str, Any]:
    row = told[number]
    assert isinstance(row, dict)
    return row


FAULTS = [broken_audio, bad_segment, bad_role, no_audio, no_json, bad_dialogue, too_short]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rejected_turn_leaves_a_gap_and_heals(
    fault: Callable[[Path, Told], None], config: Config, talk: Path, run_build: RunBuild, tmp_path: Path
) -> None:
    """The third turn is no answer to the first, whatever is wrong with the second."""
    good, audio = read(talk), (talk.parent / "a1.wav").read_bytes()
    run_build(config)
    told = read(talk)
    fault(talk, told)
    write(talk, told)
    version = run_build(config).version
    assert len(rows(version, "rejects")) == 1
    assert turns(version) == {f"a{turn}.wav": turn for turn in (0, 2, 3, 4, 5)}
    assert turns(version, "b") == {f"b{turn}.wav": None for turn in range(TURNS)}
    assert exchanges(version) == []
    equals_a_new_one(version, config, run_build, tmp_path)
    write(talk, good)
    (talk.parent / "a1.wav").write_bytes(audio)
    healed = run_build(config).version
    assert turns(healed) == {f"a{turn}.wav": None for turn in range(TURNS)}
    assert exchanges(healed) == ["a0.wav", "a2.wav", "a4.wav"]
    equals_a_new_one(healed, config, run_build, tmp_path)


@pytest.mark.parametrize("lost", [0, 1, 2, 4])
def test_a_withdrawn_turn_leaves_a_gap(
    lost: int, config: Config, talk: Path, run_build: RunBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is withdrawn from the store alone, and later builds of the source give the same."""
    run_build(config)
    with monkeypatch.context() as patched:
        patched.setattr(audio_files, "stream_segments", lambda *_, **__: pytest.fail("audio was decoded"))
        wanted = Wanted(ids=frozenset({f"talk/a{lost}.wav"}))
        version = forget(config["store"], wanted, "a letter", Console(quiet=True)).built.version
    left = [turn for turn in range(TURNS) if turn != lost]
    assert turns(version) == {f"a{turn}.wav": turn if lost < TURNS - 1 else None for turn in left}
    assert exchanges(version) == [f"a{turn}.wav" for turn in (0, 2, 4) if turn + 1 < lost]
    equals_a_new_one(version, config, run_build, tmp_path)
    write(talk, [row for row in read(talk) if row_of([row], 0)["audio"] != f"a{lost}.wav"])
    shorter = run_build(config).version
    assert set(turns(shorter).values()) == {None}, "the source of today has no gap"
    equals_a_new_one(shorter, config, run_build, tmp_path)


def test_a_withdrawn_and_a_rejected_turn_leave_two_gaps(
    config: Config, talk: Path, run_build: RunBuild, tmp_path: Path
) -> None:
    told = read(talk)
    no_json(talk, told)
    write(talk, told)
    run_build(config)
    wanted = Wanted(ids=frozenset({"talk/a3.wav"}))
    version = forget(config["store"], wanted, "a letter", Console(quiet=True)).built.version
    assert turns(version) == {f"a{turn}.wav": turn for turn in (0, 2, 4, 5)}
    equals_a_new_one(version, config, run_build, tmp_path)


def test_a_turn_whose_audio_is_withdrawn_under_another_id_leaves_a_gap(
    config: Config, talk: Path, run_build: RunBuild, tmp_path: Path
) -> None:
    """The dialogue is listed only later, with the audio of a turn that was withdrawn from another one."""
    whole = read(talk)
    write(talk, whole[TURNS:])
    run_build(config)
    forget(config["store"], Wanted(ids=frozenset({"talk/b2.wav"})), "a letter", Console(quiet=True))
    (talk.parent / "a1.wav").write_bytes((talk.parent / "b2.wav").read_bytes())
    write(talk, whole)
    version = run_build(config).version
    assert turns(version) == {f"a{turn}.wav": turn for turn in (0, 2, 3, 4, 5)}
    assert exchanges(version) == []
    equals_a_new_one(version, config, run_build, tmp_path)


def test_a_turn_that_another_source_lists_leaves_a_gap_in_this_one(
    config: Config, talk: Path, run_build: RunBuild, tmp_path: Path
) -> None:
    """The first source has two turns of a dialogue, the second has all: its four others keep their places."""
    first = talk.with_name("first.jsonl")
    write(first, read(talk)[:2])
    config["sources"].insert(0, {"kind": "manifest", "path": str(first), "dataset": "talk"})
    version = run_build(config).version
    assert turns(version) == {f"a{turn}.wav": turn if turn > 1 else None for turn in range(TURNS)}
    assert exchanges(version) == ["a0.wav"], "the parts of a dialogue of two sources are dialogues of their own"
    equals_a_new_one(version, config, run_build, tmp_path)


def test_places_are_learnt_after_a_withdrawal_by_an_older_program(
    config: Config, talk: Path, run_build: RunBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older programs did not note the places of what was left; the next build does it, and decodes nothing."""
    run_build(config)
    with monkeypatch.context() as patched:
        patched.setattr(screen, "at_place", lambda entry, _: entry)
        wanted = Wanted(ids=frozenset({"talk/a1.wav"}))
        older = forget(config["store"], wanted, "a letter", Console(quiet=True)).built.version
    assert set(turns(older).values()) == {None}
    with monkeypatch.context() as patched:
        patched.setattr(audio_files, "stream_segments", lambda *_, **__: pytest.fail("audio was decoded"))
        version = run_build(config).version
    assert turns(version) == {f"a{turn}.wav": turn for turn in (0, 2, 3, 4, 5)}
    equals_a_new_one(version, config, run_build, tmp_path)


def test_rows_that_cannot_be_read_join_the_dialogue_that_an_older_program_saw_in_parts(
    config: Config, talk: Path, run_build: RunBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["work_units"] = {"minutes": 1.0}  # the parts lie in one
    told = read(talk)
    no_json(talk, told)
    write(talk, told)
    with monkeypatch.context() as patched:
        patched.setattr(manifest, "in_dialogues", lambda entries: entries)
        assert exchanges(run_build(config).version) != [], "with a history that lacks a turn"
    with monkeypatch.context() as patched:
        patched.setattr(audio_files, "stream_segments", lambda *_, **__: pytest.fail("audio was decoded"))
        version = run_build(config).version
    assert exchanges(version) == []
    equals_a_new_one(version, config, run_build, tmp_path)
