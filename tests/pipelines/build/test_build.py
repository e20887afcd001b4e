"""Whole builds in one process: what is made, what is not made again, what depends on what."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipelines.build.build import run_until
from pipelines.build.commit import Built
from pipelines.build.statistics import from_version, overall
from pipelines.build.verify import verify
from pipelines.config.build import check_config
from pipelines.errors import UserError
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version, resolve, version_numbers

Config = dict[str, Any]
RunBuild = Callable[..., Built]
MakeSpeech = Callable[..., Path]


def written(store: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every data file: equal means untouched."""
    files = [path for folder in ("data", "training", "artifacts") for path in (store / folder).rglob("*")]
    stats = {str(path.relative_to(store)): path.stat() for path in files if path.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def contents(version: Version) -> dict[str, list[str]]:
    """Checksums of all files by table."""
    return {
        step: sorted(file.sha256 for receipt in receipts for file in receipt.files)
        for step, receipts in version.steps.items()
    }


def rejects(store: str, version: Version) -> dict[str, str]:
    """Reason by source."""
    rows = [row for file in version.files("rejects") for row in read_table(Store.open(store), file.path).to_pylist()]
    return {row["source"]: row["reason"] for row in rows}


def test_a_folder_becomes_a_whole_corpus(config: Config, run_build: RunBuild) -> None:
    built = run_build(config)
    assert built.new
    assert built.version.number == 1
    store, version = resolve(config["store"])
    total = overall(from_version(version.statistics))
    assert total.utterances == 12
    assert 12 * 2.0 <= total.hours * 3600 <= 12 * 2.7
    assert total.compression.total_ratio > total.compression.dedup_ratio > 1
    assert version.statistics["examples"] == {"s2t": 12}
    assert list(verify(store, version)) == []


def test_a_finished_build_does_nothing(config: Config, run_build: RunBuild) -> None:
    first = run_build(config)
    before = written(Path(config["store"]))
    again = run_build(config)
    assert not again.new
    assert again.version == first.version
    assert written(Path(config["store"])) == before


def test_new_files_cost_only_themselves(
    config: Config, run_build: RunBuild, make_speech: MakeSpeech, speech: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(speech, tmp_path / "growing"))
    config["sources"][0]["path"] = str(folder)
    first = run_build(config).version
    before = written(Path(config["store"]))
    make_speech(folder, 5, start=100)
    second = run_build(config).version
    assert {name: written(Path(config["store"]))[name] for name in before} == before
    assert second.number == 2
    assert second.artifacts == first.artifacts
    assert second.lineage["came_with"] == first.lineage["came_with"]
    assert first.lineage["came_with"]["unit_language"]["version"] == 1
    for step, receipts in first.steps.items():
        assert second.steps[step][: len(receipts)] == receipts
    fresh = [r for r in second.steps["quantize"] if r not in first.steps["quantize"]]
    assert sum(receipt.rows_in for receipt in fresh) == 5
    assert second.statistics["datasets"]["clips"]["utterances"] == 17
    assert list(verify(*resolve(config["store"]))) == []
    assert list(verify(*resolve(f"{config['store']}@1"))) == []


def test_incremental_statistics_equal_those_of_one_build(
    config: Config, run_build: RunBuild, make_speech: MakeSpeech, speech: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(speech, tmp_path / "growing"))
    config["sources"][0]["path"] = str(folder)
    run_build(config)
    make_speech(folder, 3, start=50)
    grown = run_build(config).version
    counted = from_version(grown.statistics)["clips"]
    store = Store.open(config["store"])
    rows = [row for file in grown.files("unit_language") for row in read_table(store, file.path).to_pylist()]
    assert counted.utterances == len(rows) == 15
    words = sum(len(row["words"]) for row in rows)
    frames = sum(row["num_frames"] for row in rows)
    assert counted.compression.total_ratio == pytest.approx(frames / words)


def test_touched_files_change_nothing(config: Config, run_build: RunBuild, speech: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(speech, tmp_path / "touched"))
    config["sources"][0]["path"] = str(folder)
    run_build(config)
    for path in folder.iterdir():
        path.touch()
    assert not run_build(config).new


def test_a_changed_vocabulary_keeps_the_units(config: Config, run_build: RunBuild) -> None:
    first = run_build(config).version
    second = run_build({**config, "unit_language": {"vocab_size": 40}}).version
    assert second.number == 2
    assert second.steps["quantize"] == first.steps["quantize"]
    assert second.artifacts["quantizer"] == first.artifacts["quantizer"]
    assert second.artifacts["unit_language"] != first.artifacts["unit_language"]
    assert {name: came["version"] for name, came in second.lineage["came_with"].items()} == {
        "quantizer": 1,
        "unit_language": 2,
    }
    assert contents(second)["encode"] != contents(first)["encode"]


def test_refit_fits_on_all_speech(
    config: Config, run_build: RunBuild, make_speech: MakeSpeech, speech: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(speech, tmp_path / "growing"))
    config["sources"][0]["path"] = str(folder)
    first = run_build(config).version
    make_speech(folder, 4, start=70)
    second = run_build({**config, "refit": True}).version
    assert second.artifacts["quantizer"] != first.artifacts["quantizer"]
    assert second.steps["ingest"][: len(first.steps["ingest"])] == first.steps["ingest"]
    assert not run_build({**config, "refit": True}).new


def test_bad_files_are_rejects_with_reasons(
    config: Config, run_build: RunBuild, make_speech: MakeSpeech, tmp_path: Path
) -> None:
    folder = make_speech(tmp_path / "mixed", 8)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is not audio " * 100)
    (folder / "dangling.wav").symlink_to(folder / "nowhere.wav")
    whole = (folder / "clip000.wav").read_bytes()
    (folder / "half.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "short.wav").write_bytes(whole[:40] + (200).to_bytes(4, "little") + whole[44:244])
    config["sources"][0]["path"] = str(folder)
    version = run_build({**config, "max_reject_ratio": 1.0}).version
    found = {Path(source).name: reason for source, reason in rejects(config["store"], version).items()}
    assert found == {
        "empty.wav": "empty_file",
        "text.wav": "not_audio",
        "dangling.wav": "missing",
        "half.wav": "truncated",
        "short.wav": "too_short",
    }
    assert version.statistics["entries"] == 13
    assert version.statistics["datasets"]["clips"]["utterances"] == 8
    assert not run_build({**config, "max_reject_ratio": 1.0}).new


def checksums(store: str, version: Version) -> set[str]:
    """Checksums of the audio of all utterances."""
    files = version.files("utterances")
    return {row for file in files for row in read_table(Store.open(store), file.path)["checksum"].to_pylist()}


def with_rejects(folder: Path, count: int) -> Path:
    for number in range(count):
        (folder / f"bad{number}.wav").write_text("nothing")
    return folder


def test_too_many_rejects_commit_nothing(
    config: Config, run_build: RunBuild, make_speech: MakeSpeech, tmp_path: Path
) -> None:
    config["sources"][0]["path"] = str(with_rejects(make_speech(tmp_path / "mixed", 8), 3))
    with pytest.raises(
        UserError, match=r"after step ingest, 3 of 11 entries were rejected(.|\n)*bad0\.wav(.|\n)*max_reject_ratio"
    ):
        run_build(config)
    assert version_numbers(Store.open(config["store"])) == []
    assert not (Path(config["store"]) / "artifacts").exists(), "it is told before the long steps"
    assert run_build({**config, "max_reject_ratio": 0.5}).version.number == 1
    assert not run_build({**config, "max_reject_ratio": 0.1}).new, "what is committed is not refused later"


def test_the_same_entry_twice_is_one_utterance(config: Config, run_build: RunBuild) -> None:
    config["sources"].append(config["sources"][0])
    version = run_build(config).version
    assert version.statistics["entries"] == 12
    assert version.statistics["datasets"]["clips"]["utterances"] == 12


def test_one_id_for_two_utterances_is_a_reject(config: Config, run_build: RunBuild) -> None:
    config["sources"].append(config["sources"][0] | {"language": "en"})
    version = run_build({**config, "max_reject_ratio": 1.0}).version
    assert version.statistics["datasets"]["clips"]["utterances"] == 12
    assert version.statistics["datasets"]["clips"]["rejects"] == {"duplicate_id": 12}


def test_no_speech_at_all(config: Config, run_build: RunBuild, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    config["sources"][0]["path"] = str(tmp_path / "nothing")
    with pytest.raises(UserError, match="no audio file below this folder"):
        run_build(config)


def test_k_above_the_frames_names_the_remedy(config: Config, run_build: RunBuild) -> None:
    with pytest.raises(UserError, match=r"quantizer\.k: 5000 clusters need at least as many frames"):
        run_build({**config, "quantizer": {"k": 5000}, "unit_language": {"vocab_size": 6000}})


def test_rejects_that_leave_too_little_for_k_are_told_first(
    config: Config, run_build: RunBuild, make_speech: MakeSpeech, tmp_path: Path
) -> None:
    config["sources"][0]["path"] = str(with_rejects(make_speech(tmp_path / "mixed", 1), 9))
    with pytest.raises(UserError) as error:
        run_build(config | {"quantizer": {"k": 200}, "unit_language": {"vocab_size": 400}, "max_reject_ratio": 1.0})
    first, example, last = str(error.value).splitlines()
    assert first == "sources: 9 of 10 entries were rejected (90.0%): not_audio 9"
    assert "bad0.wav" in example
    assert "quantizer.k asks for 200 clusters" in last


def test_damage_is_found(config: Config, run_build: RunBuild) -> None:
    version = run_build(config).version
    path = Path(config["store"]) / version.files("units")[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    problems = list(verify(*resolve(config["store"])))
    assert any("SHA-256" in problem for problem in problems)


def test_conversations_feed_all_three_stages(
    config: Config, run_build: RunBuild, make_speech: MakeSpeech, tmp_path: Path
) -> None:
    make_speech(tmp_path / "talk", 12)
    records = [
        {
            "id": f"d{number}",
            "conversations": [
                {"role": "user", "text": "what?", "audio": f"talk/clip{2 * number:03d}.wav"},
                {"role": "assistant", "text": "that.", "audio": f"talk/clip{2 * number + 1:03d}.wav"},
            ],
        }
        for number in range(6)
    ]
    spoken = {"role": "user", "text": "hm?", "audio": "talk/clip000.wav"}
    records.append({"id": "w", "conversations": [spoken, {"role": "assistant", "text": "written"}]})
    (tmp_path / "talk.json").write_text(json.dumps(records))
    config["sources"] = [{"kind": "conversation", "path": str(tmp_path / "talk.json"), "dataset": "talk"}]
    version = run_build(config).version
    assert version.statistics["examples"] == {"echo": 6, "s2t": 7, "t2c": 6}
    store = Store.open(config["store"])
    echo = [row for file in version.files("echo") for row in read_table(store, file.path).to_pylist()]
    assert {row["response"] for row in echo} == {"that."}
    assert all(row["audio"][:4] == b"fLaC" and row["words"] for row in echo)
    assert list(verify(store, version)) == []


def ingest_only(config: Config) -> None:
    """Files of a build that was killed right after `ingest`."""
    run_until(check_config(config, "test", Path.cwd()), Console(quiet=True), "ingest")


@pytest.fixture
def own_speech(config: Config, speech: Path, tmp_path: Path) -> Path:
    """A copy of the speech that a test may change, as the source of its config."""
    folder = Path(shutil.copytree(speech, tmp_path / "own"))
    config["sources"][0]["path"] = str(folder)
    return folder


def test_audio_that_changes_after_the_ingest_of_a_killed_build_is_read_again(
    config: Config, run_build: RunBuild, own_speech: Path
) -> None:
    ingest_only(config)
    old = (own_speech / "clip000.wav").read_bytes()
    (own_speech / "clip000.wav").write_bytes(old[:-2] + bytes([old[-2] ^ 1, old[-1]]))
    version = run_build(config).version
    assert sha256((own_speech / "clip000.wav").read_bytes()).hexdigest() in checksums(config["store"], version)
    assert list(verify(Store.open(config["store"]), version)) == []


def test_other_work_units_do_not_drop_what_is_no_longer_listed(
    config: Config, run_build: RunBuild, own_speech: Path
) -> None:
    run_build(config)
    (own_speech / "clip003.wav").unlink()
    assert not run_build(config).new
    again = run_build(config | {"work_units": {"minutes": 0.2, "items": 5}})
    assert (again.version.statistics["entries"], again.changes.gone) == (12, 1)


def test_other_work_units_make_the_same_units(config: Config, run_build: RunBuild) -> None:
    first = run_build(config).version
    second = run_build(config | {"work_units": {"minutes": 0.2, "items": 7}}).version
    assert second.number == 2
    assert second.statistics["datasets"] == first.statistics["datasets"]


def test_another_codebook_under_the_same_name_is_noticed(config: Config, run_build: RunBuild, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    config["quantizer"] = {"centroids": str(tmp_path / "c.npy")}
    np.save(tmp_path / "c.npy", rng.standard_normal((30, 39)).astype(np.float32) * 20)
    first = run_build(config).version
    np.save(tmp_path / "c.npy", rng.standard_normal((30, 39)).astype(np.float32) * 20)
    second = run_build(config).version
    assert second.artifacts["quantizer"] != first.artifacts["quantizer"]
    assert not run_build(config).new


def test_a_setting_that_changes_nothing_now_changes_nothing_later(
    config: Config, run_build: RunBuild, own_speech: Path, make_speech: MakeSpeech
) -> None:
    first = run_build(config).version
    config["quantizer"] |= {"sample_hours": 30}
    accepted = run_build(config).version
    assert accepted.artifacts == first.artifacts
    make_speech(own_speech, 1, start=90)
    assert run_build(config).version.artifacts == first.artifacts
