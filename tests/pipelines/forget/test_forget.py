"""A speaker withdraws: the corpus goes on as if the speech had never been there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.build.build import run_until
from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.config.build import check_config
from pipelines.errors import UserError
from pipelines.forget import forget as forgetting_module
from pipelines.forget.forget import Forgotten
from pipelines.sources import audio_files
from pipelines.steps import steps
from storage.copying.copy import copy_versions
from storage.copying.plan import open_target, plan_copy
from storage.models import ModelCard, register
from storage.store import Store
from storage.suppression.merged import Suppression
from storage.versions import Version, latest, version_numbers
from tests.pipelines.conftest import rows
from tests.pipelines.forget.conftest import QUIET
from tests.speech import RATE, voice

Config = dict[str, Any]
RunBuild = Callable[..., Built]
Forgetting = Callable[..., Forgotten]
TABLES = {"utterances", "rejects", "units", "unit_language", "s2t", "t2c", "echo"}


def contents(store: str | Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in Path(store).rglob("*") if path.is_file()}


def is_sound(version: Version) -> None:
    assert list(verify(Store.open(version.store), version)) == []


def equals_one_without(version: Version, config: Config, run_build: RunBuild, tmp_path: Path) -> None:
    """Compare with a corpus that is built from scratch from the sources of today."""
    is_sound(version)
    fresh = run_build({**config, "store": str(tmp_path / "fresh")}).version
    for table in TABLES:
        assert rows(version, table) == rows(fresh, table), table
    assert version.statistics["entries"] == fresh.statistics["entries"]
    assert version.statistics["examples"] == fresh.statistics["examples"]


def remove_rows(manifest: Path, speaker: str) -> None:
    lines = manifest.read_text().splitlines()
    manifest.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["speaker"] != speaker))


def test_a_speaker_is_forgotten_from_the_store_alone(
    config: Config,
    spoken: Path,
    run_build: RunBuild,
    forgetting: Forgetting,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = run_build(config).version
    away = spoken.parent.rename(tmp_path / "away")
    with monkeypatch.context() as patched:
        patched.setattr(audio_files, "stream_segments", lambda *_, **__: pytest.fail("audio was decoded"))
        found = forgetting(config["store"], speaker="bob")
    away.rename(spoken.parent)
    version = found.built.version
    assert (version.number, found.utterances, found.versions) == (2, 4, [1])
    assert found.seconds == pytest.approx(sum(2 + 0.1 * (n % 7) for n in (1, 4, 7, 10)))
    assert {*found.shards} == {f.path for table in ("s2t", "t2c") for f in first.files(table)}
    assert version.artifacts == first.artifacts
    assert version.lineage["suppressed"]["left_out"] == 4
    assert not run_build(config).new, "the source still lists the speaker"
    remove_rows(spoken, "bob")
    assert not run_build(config).new
    equals_one_without(version, config, run_build, tmp_path)


def test_forgetting_twice_does_nothing(config: Config, run_build: RunBuild, forgetting: Forgetting) -> None:
    run_build(config)
    forgetting(config["store"], speaker="bob")
    before = contents(config["store"])
    again = forgetting(config["store"], speaker="bob")
    assert (again.new_list, again.built.new, again.utterances) == (None, False, 4)
    assert contents(config["store"]) == before


@pytest.mark.parametrize("after", ["list", "ingest", "quantize", "encode", "shard"])
@pytest.mark.parametrize("by", ["forget", "build"])
def test_a_killed_forget_is_ended_by_the_next_one_or_by_the_next_build(
    config: Config,
    run_build: RunBuild,
    forgetting: Forgetting,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: str,
    by: str,
) -> None:
    run_build(config)
    whole = str(shutil.copytree(config["store"], tmp_path / "whole"))
    expected = forgetting(whole, speaker="bob").built.version

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if after == "list":
            patched.setattr(forgetting_module, "without_suppressed", killed)
        else:
            patched.setattr(steps()[after], "check", killed)
        with pytest.raises(KeyboardInterrupt):
            forgetting(config["store"], speaker="bob")
    assert version_numbers(Store.open(config["store"])) == [1]
    made = forgetting(config["store"], speaker="bob").built if by == "forget" else run_build(config)
    assert made.new
    assert (made.version.steps, made.version.statistics) == (expected.steps, expected.statistics)
    assert not run_build(config).new
    assert not forgetting(config["store"], speaker="bob").built.new


def test_another_source_of_the_same_audio_is_suppressed_too(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path
) -> None:
    run_build(config)
    forgetting(config["store"], speaker="bob")
    other = tmp_path / "other"
    other.mkdir()
    for number in (0, 1, 2):
        shutil.copy(spoken.parent / f"clip{number:03d}.wav", other / f"take{number}.wav")
        (other / f"take{number}.txt").write_text(f"other words {number}")
    table = pa.table({"audio": [{"bytes": (spoken.parent / f"clip{n:03d}.wav").read_bytes()} for n in (3, 4)]})
    pq.write_table(table, tmp_path / "packed.parquet")
    config["sources"] += [
        {"kind": "folder", "path": str(other), "dataset": "other"},
        {"kind": "hf_parquet", "path": str(tmp_path / "packed.parquet"), "dataset": "packed"},
    ]
    built = run_build(config)
    names = {*rows(built.version, "utterances")}
    assert {name for name in names if name.startswith("other/")} == {"other/take0.wav", "other/take2.wav"}
    assert sum(name.startswith("packed/") for name in names) == 1
    assert rows(built.version, "rejects") == {}
    assert (built.changes.new, built.changes.suppressed) == (3, 4 + 2)
    assert built.version.statistics["entries"] == len(names) == 8 + 3
    written = b"".join(contents(config["store"]).values())
    assert b"take1" not in written, "not even the id of a suppressed entry is kept"
    assert b"other words 1" not in written
    is_sound(built.version)
    assert not run_build(config).new


def test_a_file_that_is_replaced_by_suppressed_audio_leaves(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    run_build(config)
    forgetting(config["store"], speaker="bob")
    shutil.copy(spoken.parent / "clip001.wav", spoken.parent / "clip000.wav")
    version = run_build(config).version
    assert "clips/clip000.wav" not in {*rows(version, "utterances"), *rows(version, "rejects")}
    assert not run_build(config).new


def test_a_version_of_a_copy_with_the_same_audio_under_other_ids_forgets_them(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path
) -> None:
    """Ids of other entries with the same audio are suppressed together with those that are named."""
    shutil.copy(spoken.parent / "clip001.wav", spoken.parent / "again.wav")
    with spoken.open("a") as file:
        file.write(json.dumps({"audio": "again.wav", "text": "again", "speaker": "ann"}) + "\n")
    run_build(config)
    found = forgetting(config["store"], ids=frozenset({"clips/clip001.wav"}))
    assert found.utterances == 2
    assert not {"clips/clip001.wav", "clips/again.wav"} & {*rows(found.built.version, "utterances")}


def test_other_segments_of_the_same_file_stay(
    config: Config, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path
) -> None:
    long = tmp_path / "long"
    long.mkdir()
    soundfile.write(long / "talk.wav", np.concatenate([voice(2.0, n) for n in range(6)]), RATE, subtype="PCM_16")
    segments = [
        {"audio": "talk.wav", "start": 2 * n, "duration": 2, "text": f"part {n}", "speaker": "ab"[n % 2]}
        for n in range(6)
    ]
    (long / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in segments))
    config["sources"] = [{"kind": "manifest", "path": str(long / "m.jsonl"), "dataset": "talks"}]
    run_build(config)
    version = forgetting(config["store"], speaker="a").built.version
    assert {row["text"] for row in rows(version, "utterances").values()} == {"part 1", "part 3", "part 5"}
    assert not run_build(config).new
    remove_rows(long / "m.jsonl", "a")
    equals_one_without(version, config, run_build, tmp_path)


def test_one_channel_of_a_file_is_forgotten(
    config: Config, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    for n in range(4):
        soundfile.write(calls / f"{n}.wav", np.stack([voice(2.0, n), voice(2.0, n + 10)], 1), RATE, subtype="PCM_16")
    config["sources"] = [{"kind": "folder", "path": str(calls), "dataset": "calls", "channel": "each"}]
    first = run_build(config).version
    version = forgetting(config["store"], ids=frozenset({"calls/2.wav#channel1"})).built.version
    assert rows(first, "units").keys() - rows(version, "units").keys() == {"calls/2.wav#channel1"}
    assert not run_build(config).new
    shutil.copy(calls / "2.wav", calls / "copy.wav")
    built = run_build(config)
    assert "calls/copy.wav#channel0" in rows(built.version, "units")
    assert "calls/copy.wav#channel1" not in rows(built.version, "utterances")
    is_sound(built.version)
    assert not run_build(config).new
    (calls / "2.txt").write_text("a transcript that comes later")
    built = run_build(config)
    assert rows(built.version, "utterances")["calls/2.wav#channel0"]["text"] == "a transcript that comes later"
    assert "calls/2.wav#channel1" not in rows(built.version, "utterances")
    version = forgetting(config["store"], ids=frozenset({"calls/0.wav"})).built.version
    assert not {"calls/0.wav#channel0", "calls/0.wav#channel1"} & {*rows(version, "utterances")}


def test_a_turn_of_a_dialogue_is_forgotten(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path
) -> None:
    turns = [
        {"from": ("human", "gpt")[n % 2], "value": f"turn {n}", "audio": f"clip{n:03d}.wav", "speaker_id": f"s{n % 4}"}
        for n in range(6)
    ]
    talk = spoken.parent / "talk.json"
    talk.write_text(json.dumps([{"id": "d", "conversations": turns}]))
    config["sources"] = [
        *config["sources"],
        {"kind": "conversation", "path": str(talk), "dataset": "talk"},
    ]
    run_build(config)
    version = forgetting(config["store"], dataset="talk", speaker="s2").built.version
    turns_left = [row["turn"] for name, row in rows(version, "utterances").items() if name.startswith("talk/")]
    assert turns_left == [0, 1, 3, 4, 5]
    assert {*rows(version, "echo")} == {"talk/d/0"}, "what follows the gap has lost its history"
    assert "clips/clip002.wav" not in rows(version, "utterances"), "the same audio, named by another source"
    assert not run_build(config).new
    is_sound(version)


def test_a_rejected_entry_is_forgotten(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    (spoken.parent / "clip001.wav").write_bytes(b"")
    config["max_reject_ratio"] = 0.5
    first = run_build(config).version
    assert {*rows(first, "rejects")} == {"clips/clip001.wav"}
    found = forgetting(config["store"], speaker="bob")
    assert (found.utterances, found.rejected) == (3, 1)
    assert rows(found.built.version, "rejects") == {}
    assert not run_build(config).new


def test_ids_that_are_not_there_yet_are_suppressed(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    whole = spoken.read_text()
    spoken.write_text("".join(f"{line}\n" for line in whole.splitlines()[:9]))
    run_build(config)
    found = forgetting(config["store"], ids=frozenset({"clips/clip010.wav", "clips/clip002.wav"}))
    assert (found.utterances, found.unknown) == (1, 1)
    spoken.write_text(whole)
    built = run_build(config)
    assert {*rows(built.version, "utterances")} == {f"clips/clip{n:03d}.wav" for n in range(12) if n not in (2, 10)}
    assert (built.changes.new, built.changes.suppressed) == (2, 2)


def test_one_name_in_two_datasets_may_be_two_persons(
    config: Config, run_build: RunBuild, forgetting: Forgetting
) -> None:
    config["sources"] += [{**config["sources"][0], "dataset": "others"}]
    run_build(config)
    before = contents(config["store"])
    with pytest.raises(UserError, match=r"--speaker bob: the datasets clips \(4\), others \(4\) .*add --dataset"):
        forgetting(config["store"], speaker="bob")
    assert contents(config["store"]) == before


def test_a_name_that_nobody_has_and_a_corpus_of_which_nothing_would_be_left_are_refused(
    config: Config, run_build: RunBuild, forgetting: Forgetting
) -> None:
    run_build(config)
    before = contents(config["store"])
    with pytest.raises(UserError, match="no version has an utterance of speaker bib; nothing is forgotten"):
        forgetting(config["store"], speaker="bib")
    with pytest.raises(UserError, match="nothing would be left of it; remove the whole store instead"):
        forgetting(config["store"], dataset="clips")
    assert contents(config["store"]) == before


def test_a_speaker_of_earlier_versions_alone_is_forgotten(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    run_build(config)
    whole = spoken.read_text()
    remove_rows(spoken, "bob")
    config["sources"][0]["gone"] = "remove"
    assert run_build(config).changes.removed == 4
    found = forgetting(config["store"], speaker="bob")
    assert (found.utterances, found.versions, found.built.version.number) == (4, [1], 3)
    spoken.write_text(whole)
    assert not run_build(config).new


def test_models_that_learnt_from_the_speech_are_named(
    config: Config, run_build: RunBuild, forgetting: Forgetting
) -> None:
    run_build(config)
    store = Store.open(config["store"])
    card: Any = {
        **{name: name for name in ("architecture", "code", "folder", "checkpoint")},
        "settings": (),
        "steps": 1,
        "metrics": {},
    }
    for name, number, sources in (("heard", 1, {}), ("later", 9, {"s2t": "heard"}), ("other", 9, {})):
        corpus = f"{store.uri}@{number}"
        register(store, ModelCard(name=name, stage="s2t", corpus=corpus, source_models=sources, **card))
    assert forgetting(config["store"], speaker="bob").models == ["heard", "later"]


def test_copies_honour_the_lists(config: Config, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path) -> None:
    run_build(config)
    forgetting(config["store"], speaker="bob")
    source = Store.open(config["store"])
    target = open_target(str(tmp_path / "copy"), source)
    for _ in copy_versions(plan_copy(source, [1], target)):
        pass
    assert Suppression.of(target) == Suppression.of(source)
    built = run_build({**config, "store": target.uri})
    assert built.version.number == 2
    assert {row["speaker_id"] for row in rows(built.version, "utterances").values()} == {"ann", "eve"}


def test_an_unfinished_build_before_the_withdrawal_brings_nothing_back(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path
) -> None:
    run_build(config)
    with spoken.open("a") as file:
        shutil.copy(spoken.parent / "clip001.wav", spoken.parent / "late.wav")
        file.write(json.dumps({"audio": "late.wav", "text": "late", "speaker": "bob"}) + "\n")
    run_until(check_config(config, "test", Path.cwd()), QUIET, "shard")
    forgetting(config["store"], speaker="bob")
    built = run_build(config)
    assert not built.new
    version = latest(Store.open(config["store"]))
    assert version is not None
    assert {row["speaker_id"] for row in rows(version, "utterances").values()} == {"ann", "eve"}


def test_a_licence_is_forgotten(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path
) -> None:
    rows_ = [json.loads(line) for line in spoken.read_text().splitlines()]
    for number, row in enumerate(rows_):
        row["licence"] = ("CC-BY-4.0", "CC-BY-NC-4.0")[number % 4 == 0]
    spoken.write_text("".join(json.dumps(row) + "\n" for row in rows_))
    run_build(config)
    found = forgetting(config["store"], licence="CC-BY-NC-4.0")
    assert found.utterances == 3
    assert {row["licence"] for row in rows(found.built.version, "utterances").values()} == {"CC-BY-4.0"}
    found = forgetting(config["store"], licence="CC-BY-4.0", speaker="bob")
    assert found.utterances == 3, "an utterance must meet all that is given"
    is_sound(found.built.version)
    assert not run_build(config).new


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_no_build_goes_on_without_a_list(
    config: Config, run_build: RunBuild, forgetting: Forgetting, fault: str
) -> None:
    run_build(config)
    name = forgetting(config["store"], speaker="bob").new_list
    path = Path(config["store"]) / "suppressed" / f"{name}.json"
    data = path.read_bytes()
    path.unlink() if fault == "missing" else path.write_bytes(data.replace(b"a letter", b"b letter"))
    with pytest.raises(ValueError, match=f"{name}.json") as raised:
        run_build(config)
    assert "restore it from a copy" in str(raised.value)
    path.write_bytes(data)
    assert not run_build(config).new
