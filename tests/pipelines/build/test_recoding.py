"""Another unit language: the shards without words stay as they are, the others are written anew."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from echox.data.contents import read_contents, stated_contents
from pipelines.build.build import run_until
from pipelines.build.commit import Built
from pipelines.build.repair import repair
from pipelines.build.verify import verify
from pipelines.config.build import check_config
from pipelines.sources import audio_files
from pipelines.steps import shard as shard_step
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version
from tests.speech import write_speech

pytestmark = pytest.mark.slow

Config = dict[str, Any]
RunBuild = Callable[..., Built]
OTHER = {"unit_language": {"vocab_size": 40}}


@pytest.fixture
def folder(config: Config, speech: Path, tmp_path: Path) -> Path:
    """Clips with transcripts, and two dialogues of two turns."""
    own = Path(shutil.copytree(speech, tmp_path / "own"))
    write_speech(tmp_path / "talk", 4, start=30)
    turns = [{"from": who, "value": who, "audio": f"talk/clip03{n}.wav"} for n, who in enumerate(["user", "bot"] * 2)]
    records = [{"id": str(n), "conversations": turns[2 * n :][:2]} for n in range(2)]
    (tmp_path / "talk.json").write_text(json.dumps(records))
    config["sources"] = [
        {"kind": "folder", "path": str(own), "dataset": "clips"},
        {"kind": "conversation", "path": str(tmp_path / "talk.json"), "dataset": "talk"},
    ]
    return own


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of utterances whose FLAC is copied from earlier shards; decoding is an error."""
    asked: list[str] = []
    taken = shard_step.taken_flacs

    def counted(store: Any, utterances: Any, shards: Any, wanted: Any) -> dict[str, bytes]:
        asked.extend(wanted)
        return taken(store, utterances, shards, wanted)

    monkeypatch.setattr(shard_step, "taken_flacs", counted)
    return asked


def names(version: Version, table: str) -> set[str]:
    return {file.path for file in version.files(table)}


def examples(version: Version, table: str) -> dict[str, dict[str, Any]]:
    store = Store.open(version.store)
    rows = [row for file in version.files(table) for row in read_table(store, file.path).to_pylist()]
    assert len({row["example_id"] for row in rows}) == len(rows)
    return {row["example_id"]: row for row in rows}


def check_whole(version: Version) -> None:
    assert list(verify(Store.open(version.store), version)) == []


def check_contents(version: Version) -> None:
    """Each receipt says what is in its files, also in those that stayed."""
    for receipt in version.steps["shard"]:
        for file in receipt.files:
            stated = stated_contents(receipt.stats, file)
            assert stated is not None
            assert stated == read_contents(Store.open(version.store), file.path)


def no_decoding(*_: object) -> Any:
    raise AssertionError("audio was decoded")


def test_s2t_stays_and_the_others_are_written_anew(
    config: Config, folder: Path, run_build: RunBuild, copied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_build(config).version
    copied.clear()
    monkeypatch.setattr(audio_files, "stream_segments", no_decoding)
    second = run_build({**config, **OTHER}).version
    assert len(names(first, "s2t")) > 1
    assert names(second, "s2t") == names(first, "s2t")
    for table in ("t2c", "echo"):
        assert not names(second, table) & names(first, table)
        assert examples(second, table).keys() == examples(first, table).keys()
    assert {*copied} == {*examples(second, "echo")}
    assert examples(second, "echo") != examples(first, "echo")
    check_whole(second)
    check_contents(second)
    assert not run_build({**config, **OTHER}).new


def test_from_scratch_the_same_examples_come_out(
    config: Config, folder: Path, run_build: RunBuild, tmp_path: Path
) -> None:
    run_build(config)
    second = run_build({**config, **OTHER}).version
    fresh = run_build({**config, **OTHER, "store": str(tmp_path / "fresh")}).version
    assert examples(second, "s2t") == examples(fresh, "s2t")
    assert second.statistics["examples"] == fresh.statistics["examples"]


def test_back_to_the_old_words_nothing_is_written(
    config: Config, folder: Path, run_build: RunBuild, copied: list[str]
) -> None:
    first = run_build(config).version
    run_build({**config, **OTHER})
    copied.clear()
    third = run_build(config).version
    assert (third.number, copied) == (3, [])
    assert third.steps["shard"] == first.steps["shard"]


def test_only_shards_with_news_are_written_anew(config: Config, folder: Path, run_build: RunBuild) -> None:
    config |= {"work_units": {"minutes": 1, "items": 3}, "shards": {"hours": 0.002}}
    first = run_build(config).version
    (folder / "clip003.txt").write_text("mended")
    write_speech(folder, 3, start=40)
    second = run_build({**config, **OTHER}).version
    kept = names(second, "s2t") & names(first, "s2t")
    assert 0 < len(kept) < len(names(first, "s2t"))
    made = examples(second, "s2t")
    assert (made["clips/clip003.wav"]["response"], len(made)) == ("mended", 12 + 3 + 2)
    check_whole(second)


def test_an_utterance_that_is_no_more_rejected_gets_its_example(
    config: Config, folder: Path, run_build: RunBuild
) -> None:
    shutil.copy(folder / "clip000.wav", folder / "again.wav")
    reject = {**config, "duplicates": "reject", "max_reject_ratio": 1}
    assert "clips/clip000.wav" not in examples(run_build(reject).version, "s2t")
    second = run_build({**config, **OTHER}).version
    assert "clips/clip000.wav" in examples(second, "s2t")
    check_whole(second)


def test_other_settings_of_the_shards_too_change_all(config: Config, folder: Path, run_build: RunBuild) -> None:
    first = run_build(config).version
    second = run_build({**config, **OTHER, "shards": {**config["shards"], "asr_prompt": "Write."}}).version
    assert not names(second, "s2t") & names(first, "s2t")
    check_whole(second)


def test_a_build_that_ended_early_goes_on(config: Config, folder: Path, run_build: RunBuild) -> None:
    first = run_build(config).version
    run_until(check_config({**config, **OTHER}, "test", Path.cwd()), Console(quiet=True), "shard")
    second = run_build({**config, **OTHER}).version
    assert names(second, "s2t") == names(first, "s2t")
    check_whole(second)


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_lost_file_of_both_versions_is_repaired(
    config: Config, folder: Path, run_build: RunBuild, damage: str
) -> None:
    run_build(config)
    second = run_build({**config, **OTHER}).version
    store = Store.open(second.store)
    for path in sorted(path for table in ("s2t", "t2c", "echo") for path in names(second, table)):
        if damage == "missing":
            store.delete(path)
        else:
            store.put(path, bytes(len(store.get(path))))
    assert {made.fault for made in repair(store, second)} == {""}
    check_whole(second)
