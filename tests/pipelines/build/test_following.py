"""A corpus follows its sources: what differs becomes a new version at the cost of what differs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.errors import UserError
from pipelines.steps import audio_files
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version
from tests.speech import MakeSpeech, write_speech

Config = dict[str, Any]
RunBuild = Callable[..., Built]


class Decoded:
    """Counts the files that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = 0
        stream = audio_files.stream_segments

        def counted(*arguments: Any, **options: Any) -> Any:
            self.files += 1
            return stream(*arguments, **options)

        monkeypatch.setattr(audio_files, "stream_segments", counted)

    def since(self) -> int:
        """Files since the last call."""
        files, self.files = self.files, 0
        return files


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    return Decoded(monkeypatch)


@pytest.fixture
def folder(config: Config, speech: Path, tmp_path: Path) -> Path:
    """A source of 12 clips, in three chunks, that a test may change."""
    own = Path(shutil.copytree(speech, tmp_path / "own"))
    config["sources"][0]["path"] = str(own)
    return own


def rows(version: Version, table: str, key: str = "utterance_id") -> dict[str, dict[str, Any]]:
    """Rows of a table by id."""
    store = Store.open(version.store)
    found = [row for file in version.files(table) for row in read_table(store, file.path).to_pylist()]
    assert len({row[key] for row in found}) == len(found)
    return {row[key]: row for row in found}


def counts(built: Built) -> tuple[int, int, int, int, int]:
    changes = built.changes
    return changes.new, changes.changed, changes.removed, changes.gone, changes.kept


def check_like_new(built: Built, config: Config, run_build: RunBuild, tmp_path: Path) -> None:
    """Compare with a corpus that is built from scratch by the same quantizer and words."""
    version, store = built.version, Store.open(built.version.store)
    assert list(verify(store, version)) == []
    fresh = run_build({**config, "store": str(tmp_path / "fresh")}).version
    for table in ("utterances", "rejects"):
        mine, theirs = rows(version, table), rows(fresh, table)
        for row in (*mine.values(), *theirs.values()):
            del row["source_key"]  # a replaced file is marked in it
        assert mine == theirs
    lengths = {name: row["num_frames"] for name, row in rows(fresh, "units").items()}
    assert {name: row["num_frames"] for name, row in rows(version, "units").items()} == lengths
    for table in ("s2t", "t2c", "echo"):
        mine, theirs = rows(version, table, "example_id"), rows(fresh, table, "example_id")
        for row in (*mine.values(), *theirs.values()):
            row.pop("words", None)  # of another unit language
        assert mine == theirs


def test_a_moved_root_is_nothing_to_do(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    run_build(config)
    assert decoded.since() > 0
    config["sources"][0]["path"] = str(folder.rename(tmp_path / "moved"))
    built = run_build(config)
    assert (built.new, counts(built), decoded.since()) == (False, (0, 0, 0, 0, 12), 0)
    for path in (tmp_path / "moved").iterdir():
        os.utime(path, (1, 1))
    assert not run_build(config).new


def test_the_audio_of_a_moved_root_is_found(config: Config, folder: Path, run_build: RunBuild, tmp_path: Path) -> None:
    run_build(config)
    config["sources"][0]["path"] = str(folder.rename(tmp_path / "moved"))
    assert run_build({**config, "features": {"kind": "mfcc"}, "refit": True, "quantizer": {"k": 21}}).new


def test_a_mended_transcript_costs_no_decoding(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    first = run_build(config).version
    (folder / "clip003.txt").write_text("mended")
    decoded.since()
    built = run_build(config)
    assert (built.version.number, counts(built), decoded.since()) == (2, (0, 1, 0, 0, 11), 0)
    assert rows(built.version, "utterances")["clips/clip003.wav"]["text"] == "mended"
    assert rows(built.version, "s2t", "example_id")["clips/clip003.wav"]["response"] == "mended"
    assert rows(first, "s2t", "example_id")["clips/clip003.wav"]["response"] == "sentence number 3"
    assert rows(built.version, "units") == rows(first, "units")
    kept = {receipt.fingerprint for receipt in first.steps["ingest"]}
    assert len(kept & {receipt.fingerprint for receipt in built.version.steps["ingest"]}) == len(kept) - 1
    check_like_new(built, config, run_build, tmp_path)
    assert not run_build(config).new


@pytest.mark.parametrize("same_size", [False, True])
def test_a_replaced_file_replaces_its_row_alone(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path, *, same_size: bool
) -> None:
    first = run_build(config).version
    path = folder / "clip000.wav"
    if same_size:
        write_speech(tmp_path / "other", 1, start=7)  # of the same length
        shutil.copy(tmp_path / "other" / "clip007.wav", path)
    else:
        shutil.copy(folder / "clip006.wav", path)
    decoded.since()
    built = run_build(config)
    assert counts(built) == (0, 1, 0, 0, 11)
    assert decoded.since() == 2, "once for its units, once for its FLAC"
    before, after = rows(first, "units"), rows(built.version, "units")
    assert {name for name, row in after.items() if row != before[name]} == {"clips/clip000.wav"}
    check_like_new(built, config, run_build, tmp_path)
    assert not run_build(config).new


def test_a_file_that_keeps_size_and_time_is_found_by_rehash(config: Config, folder: Path, run_build: RunBuild) -> None:
    run_build(config)
    path = folder / "clip000.wav"
    status, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-2] + bytes([data[-2] ^ 1, data[-1]]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not run_build(config).new
    assert counts(run_build({**config, "run": {"rehash": True}})) == (0, 1, 0, 0, 11)
    assert not run_build({**config, "run": {"rehash": True}}).new


@pytest.mark.parametrize("reason", ["missing", "empty_file", "not_audio"])
def test_a_reject_heals(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path, reason: str
) -> None:
    config["max_reject_ratio"] = 0.5
    path = folder / "clip005.wav"
    good = path.read_bytes()
    if reason == "missing":
        path.unlink()
        path.symlink_to(tmp_path / "later.wav")
    else:
        path.write_bytes(b"" if reason == "empty_file" else bytes(len(good)))
    first = run_build(config).version
    assert rows(first, "rejects")["clips/clip005.wav"]["reason"] == reason
    assert not run_build(config).new
    (tmp_path / "later.wav" if reason == "missing" else path).write_bytes(good)
    decoded.since()
    built = run_build(config)
    assert (counts(built), decoded.since()) == ((0, 1, 0, 0, 11), 2)
    assert rows(built.version, "rejects") == {}
    check_like_new(built, config, run_build, tmp_path)


def test_a_file_that_goes_bad_becomes_a_reject_and_keeps_its_old_version(
    config: Config, folder: Path, run_build: RunBuild, tmp_path: Path
) -> None:
    config["max_reject_ratio"] = 0.5
    first = run_build(config).version
    (folder / "clip005.wav").write_bytes(b"")
    built = run_build(config)
    assert "clips/clip005.wav" in rows(first, "units")
    assert rows(built.version, "rejects")["clips/clip005.wav"]["reason"] == "empty_file"
    check_like_new(built, config, run_build, tmp_path)


def test_gone_entries_are_kept_removed_or_fail(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    run_build(config)
    (folder / "clip003.wav").unlink()
    built = run_build(config)
    assert (built.new, counts(built)) == (False, (0, 0, 0, 1, 11))
    config["sources"][0]["gone"] = "fail"
    with pytest.raises(UserError, match=r"not listed any more: 1 of clips \(for instance clips/clip003\.wav\); bring"):
        run_build(config)
    config["sources"][0]["gone"] = "remove"
    decoded.since()
    built = run_build(config)
    assert (counts(built), decoded.since()) == ((0, 0, 1, 0, 11), 0)
    check_like_new(built, config, run_build, tmp_path)
    write_speech(folder, 1, start=3)
    assert counts(run_build(config)) == (1, 0, 0, 0, 11)


def test_a_source_that_leaves_the_config_needs_a_word(
    config: Config, folder: Path, run_build: RunBuild, make_speech: MakeSpeech, tmp_path: Path
) -> None:
    make_speech(tmp_path / "more", 3, start=20)
    both = [*config["sources"], {"kind": "folder", "path": str(tmp_path / "more"), "dataset": "more"}]
    run_build({**config, "sources": both})
    with pytest.raises(UserError, match=r"3 of more \(for instance more/.*no source has the dataset more; bring it"):
        run_build(config)
    built = run_build({**config, "gone": "keep"})
    assert (built.new, counts(built)) == (False, (0, 0, 0, 3, 12))
    built = run_build({**config, "gone": "remove"})
    assert counts(built) == (0, 0, 3, 0, 12)
    check_like_new(built, config, run_build, tmp_path)


def test_a_dataset_is_renamed_without_decoding(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    first = run_build(config).version
    (folder / "clip003.wav").unlink()
    config["sources"][0] |= {"dataset": "named", "renamed_from": "clips", "gone": "remove"}
    decoded.since()
    built = run_build(config)
    assert (counts(built), decoded.since()) == ((0, 11, 1, 0, 0), 0)
    before = rows(first, "units")
    assert {name: row["units"] for name, row in rows(built.version, "units").items()} == {
        name.replace("clips/", "named/"): row["units"] for name, row in before.items() if "003" not in name
    }
    check_like_new(built, config, run_build, tmp_path)
    assert not run_build(config).new


def test_another_vocabulary_needs_no_source_audio(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded
) -> None:
    first = run_build(config).version
    for path in folder.glob("clip*.wav"):
        path.unlink()
    write_speech(folder, 1, start=0)
    decoded.since()
    built = run_build({**config, "unit_language": {"vocab_size": 40}, "shards": {"hours": 0.01}})
    assert (counts(built), decoded.since()) == ((0, 0, 0, 11, 1), 0)
    assert built.version.artifacts["unit_language"] != first.artifacts["unit_language"]
    assert {name: row["audio"] for name, row in rows(built.version, "s2t", "example_id").items()} == {
        name: row["audio"] for name, row in rows(first, "s2t", "example_id").items()
    }
    assert list(verify(Store.open(built.version.store), built.version)) == []


def test_an_entry_that_comes_back_as_it_was_is_taken_from_the_version_that_had_it(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded
) -> None:
    first = run_build(config).version
    (folder / "clip003.txt").write_text("changed")
    run_build(config)
    (folder / "clip003.txt").write_text("sentence number 3\n")
    decoded.since()
    third = run_build(config).version
    assert (third.number, decoded.since()) == (3, 0)
    assert rows(third, "utterances") == rows(first, "utterances")


def test_a_turn_that_is_added_to_a_dialogue_joins_it(
    config: Config, make_speech: MakeSpeech, run_build: RunBuild, tmp_path: Path
) -> None:
    make_speech(tmp_path / "talk", 4)
    turns = [
        {
            "role": "user" if number % 2 == 0 else "assistant",
            "text": f"t{number}",
            "audio": f"talk/clip{number:03d}.wav",
        }
        for number in range(4)
    ]
    source = tmp_path / "talk.json"
    config["sources"] = [{"kind": "conversation", "path": str(source), "dataset": "talk"}]
    source.write_text(json.dumps([{"id": "a", "conversations": turns[:2]}]))
    run_build(config)
    source.write_text(json.dumps([{"id": "a", "conversations": turns}]))
    built = run_build(config)
    assert counts(built) == (0, 4, 0, 0, 0)
    check_like_new(built, config, run_build, tmp_path)


def test_a_broken_row_is_known_again_and_leaves_no_trace_when_it_goes(
    config: Config, folder: Path, run_build: RunBuild
) -> None:
    """A row that its reader refuses has no id; it is known by its place, from the root of its source on."""
    manifest = folder / "rows.jsonl"
    rows = [{"audio": path.name, "text": path.stem} for path in sorted(folder.glob("*.wav"))]
    broken = {"audio": rows[0]["audio"], "start": "soon"}
    manifest.write_text("\n".join(map(json.dumps, [*rows, broken])))
    config["sources"][0] |= {"kind": "manifest", "path": str(manifest)}
    config["max_reject_ratio"] = 0.5
    run_build(config)
    again = run_build(config)
    assert (again.new, counts(again)) == (False, (0, 0, 0, 0, 13))
    manifest.write_text("\n".join(map(json.dumps, rows)))
    built = run_build(config)
    assert (built.new, counts(built), rows_of_rejects(built)) == (True, (0, 0, 1, 0, 12), {})
    assert not run_build(config).new, "shards of the same contents stay, whatever the names of their work units"


def rows_of_rejects(built: Built) -> dict[str, dict[str, Any]]:
    return rows(built.version, "rejects")
