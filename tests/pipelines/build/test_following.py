"""A corpus follows its sources: what differs becomes a new version at the cost of what differs."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import soundfile

from pipelines.build import statistics
from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.errors import UserError
from pipelines.sources import audio_files
from storage.approvals import approve
from storage.records import CHECKSUM, sealed
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
def generated(config: Config, speech: Path, tmp_path: Path) -> Path:
    """A source of 12 generated clips, in three chunks, that a test may change."""
    own = Path(shutil.copytree(speech, tmp_path / "own"))
    config["sources"][0]["path"] = str(own)
    return own


@pytest.fixture(params=["generated", "real"])
def folder(request: pytest.FixtureRequest, generated: Path) -> Path:
    """The same with generated speech, and with that of people under the same names."""
    if request.param == "real":
        wavs = request.getfixturevalue("shared_data").joinpath("audio", "coqui_ljspeech").rglob("*.wav")
        for number, path in enumerate(sorted(wavs, key=lambda path: (path.stat().st_size, path.name))[:12]):
            shutil.copy(path, generated / f"clip{number:03d}.wav")
    return generated


def rows(version: Version, table: str, key: str = "utterance_id") -> dict[str, dict[str, Any]]:
    """Rows of a table by id."""
    store = Store.open(version.store)
    found = [row for file in version.files(table) for row in read_table(store, file.path).to_pylist()]
    assert len({row[key] for row in found}) == len(found)
    return {row[key]: row for row in found}


def counts(built: Built) -> dict[str, int]:
    """The counts of entries that are not 0."""
    return {name: count for name, count in asdict(built.changes).items() if count}


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


def test_nothing_new_is_nothing_to_do(config: Config, folder: Path, run_build: RunBuild, decoded: Decoded) -> None:
    first = run_build(config)
    assert decoded.since() >= 24, "each once for its units, once for its FLAC"
    built = run_build(config)
    assert (built.version, counts(built), decoded.since()) == (first.version, {"kept": 12}, 0)


def test_only_tables_that_differ_are_counted(
    config: Config, generated: Path, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replaced clip: the statistics are those of all tables, but only those of its work units are read for them."""
    config["max_reject_ratio"] = 1.0
    (generated / "clip001.wav").write_bytes(b"no audio")
    first = run_build(config).version
    read: set[str] = set()
    table = statistics.read_table

    def noted(store: Store, path: str, *more: Any) -> Any:
        read.add(path)
        return table(store, path, *more)

    monkeypatch.setattr(statistics, "read_table", noted)
    write_speech(generated.parent / "other", 1, start=31)
    shutil.copy(generated.parent / "other" / "clip031.wav", generated / "clip001.wav")
    second = run_build(config).version
    files = [{file.path for name in ("unit_language", "rejects") for file in of.files(name)} for of in (first, second)]
    assert read == files[0] ^ files[1]
    assert files[0] & files[1]
    assert second.statistics["datasets"]["clips"]["rejects"] == {}
    assert list(verify(Store.open(second.store), second)) == []


def test_statistics_that_cannot_be_carried_on_are_counted_anew(
    config: Config, generated: Path, run_build: RunBuild
) -> None:
    """The parent says less than its tables hold, as a program of another kind might."""
    version = run_build(config).version
    path = Path(config["store"]) / "manifests" / "00000001.json"
    values = json.loads(path.read_text())
    counted = values["statistics"]["datasets"]["clips"]
    counted["utterances"], right = 1, counted["utterances"]
    del values[CHECKSUM]
    path.write_bytes(sealed(values))
    write_speech(generated.parent / "other", 1, start=31)
    shutil.copy(generated.parent / "other" / "clip031.wav", generated / "clip001.wav")
    second = run_build(config).version
    assert (version.number, second.number) == (1, 2)
    assert second.statistics["datasets"]["clips"]["utterances"] == right


def test_a_new_entry_costs_its_own_audio(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    run_build(config)
    write_speech(folder, 1, start=12)
    decoded.since()
    built = run_build(config)
    assert (counts(built), decoded.since()) == ({"new": 1, "kept": 12}, 2)
    check_like_new(built, config, run_build, tmp_path)


def test_other_sizes_of_work_units_decode_nothing(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded
) -> None:
    first = run_build(config).version
    decoded.since()
    built = run_build({**config, "work_units": {"minutes": 0.2, "items": 7}})
    assert (built.new, counts(built), decoded.since()) == (True, {"kept": 12}, 0)
    for table in ("utterances", "units", "unit_language"):
        assert rows(built.version, table) == rows(first, table)
    assert len(built.version.steps["ingest"]) == 2 != len(first.steps["ingest"])


def test_another_codebook_computes_all_units_anew(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded
) -> None:
    run_build(config)
    decoded.since()
    built = run_build({**config, "refit": True, "quantizer": {"k": 21, "iterations": 5}})
    assert counts(built) == {"kept": 12}
    assert decoded.since() >= 12, "all for their units; the sample of another k is the same, and so is their FLAC"


def test_a_moved_root_is_nothing_to_do(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    run_build(config)
    assert decoded.since() > 0
    config["sources"][0]["path"] = str(folder.rename(tmp_path / "moved"))
    built = run_build(config)
    assert (built.new, counts(built), decoded.since()) == (False, {"kept": 12}, 0)
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
    assert (built.version.number, counts(built), decoded.since()) == (2, {"mended": 1, "kept": 11}, 0)
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
    other = 21 if same_size else 22  # of the same length as the first generated clip, or longer
    write_speech(tmp_path / "other", 1, start=other)
    shutil.copy(tmp_path / "other" / f"clip0{other}.wav", path)
    decoded.since()
    built = run_build(config)
    assert counts(built) == {"changed": 1, "kept": 11}
    assert decoded.since() in (1, 2), "once for its units; once for its FLAC, unless a shard at hand has the same audio"
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
    assert counts(run_build({**config, "run": {"rehash": True}})) == {"changed": 1, "kept": 11}
    assert not run_build({**config, "run": {"rehash": True}}).new


def test_a_change_of_a_reject_alone_keeps_the_shards(config: Config, folder: Path, run_build: RunBuild) -> None:
    config["max_reject_ratio"] = 0.5
    (folder / "clip005.wav").write_bytes(b"")
    first = run_build(config).version
    (folder / "clip005.txt").write_text("another sentence")
    second = run_build(config)
    assert counts(second) == {"mended": 1, "kept": 11, "rejected": 1}
    assert not run_build(config).new
    shards = [[receipt.fingerprint for receipt in version.steps["shard"]] for version in (first, second.version)]
    assert shards[0] == shards[1]


@pytest.mark.parametrize("step", ["ingest", "quantize"])
def test_rejects_are_tried_again_on_demand(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path, step: str
) -> None:
    """The reads of one file fail for a moment; nothing about the file tells that it can be read now."""
    config["max_reject_ratio"] = 0.5
    path, flac = folder / "clip005.wav", folder / "clip005.flac"
    soundfile.write(flac, *soundfile.read(path))
    path.unlink()
    good, status = flac.read_bytes(), flac.stat()
    broken = bytes(len(good)) if step == "ingest" else good[: len(good) // 2] + bytes(len(good) - len(good) // 2)
    flac.write_bytes(broken)
    os.utime(flac, ns=(status.st_atime_ns, status.st_mtime_ns))
    first = run_build(config).version
    assert rows(first, "rejects")["clips/clip005.flac"]["step"] == step
    flac.write_bytes(good)
    os.utime(flac, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not run_build(config).new
    decoded.since()
    built = run_build({**config, "run": {"retry_rejects": True}})
    assert built.new
    assert counts(built) == {"healed": 1, "kept": 11}
    assert decoded.since() == 2, "once for its units, once for its FLAC"
    assert not rows(built.version, "rejects")
    check_like_new(built, config, run_build, tmp_path)
    assert not run_build({**config, "run": {"retry_rejects": True}}).new


def test_a_reject_that_is_tried_again_in_vain_stays(config: Config, folder: Path, run_build: RunBuild) -> None:
    config["max_reject_ratio"] = 0.5
    (folder / "clip005.wav").write_bytes(b"")
    first = run_build(config).version
    again = run_build({**config, "run": {"retry_rejects": True}}).version
    reasons = [rows(version, "rejects")["clips/clip005.wav"]["reason"] for version in (first, again)]
    assert reasons == ["empty_file", "empty_file"]
    assert not run_build(config).new


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
    assert (counts(built), decoded.since()) == ({"healed": 1, "kept": 11}, 2)
    assert rows(built.version, "rejects") == {}
    check_like_new(built, config, run_build, tmp_path)


def test_a_file_that_goes_bad_becomes_a_reject_and_keeps_its_old_version(
    config: Config, folder: Path, run_build: RunBuild, tmp_path: Path
) -> None:
    config["max_reject_ratio"] = 0.5
    first = run_build(config).version
    (folder / "clip005.wav").write_bytes(b"")
    built = run_build(config)
    assert counts(built) == {"changed": 1, "kept": 11, "rejected": 1}
    assert "clips/clip005.wav" in rows(first, "units")
    assert rows(built.version, "rejects")["clips/clip005.wav"]["reason"] == "empty_file"
    check_like_new(built, config, run_build, tmp_path)


def test_a_reject_that_is_rejected_again_has_not_healed(config: Config, folder: Path, run_build: RunBuild) -> None:
    config["max_reject_ratio"] = 0.5
    (folder / "clip004.wav").write_bytes(b"no audio")
    truncated(folder / "clip005.wav")
    (folder / "clip006.wav").write_bytes(b"")
    assert counts(run_build(config)) == {"new": 12, "rejected": 3}
    (folder / "clip004.wav").write_bytes(b"still no audio")
    (folder / "clip005.txt").write_text("mended")
    write_speech(folder, 1, start=6)
    assert counts(run_build(config)) == {"changed": 1, "mended": 1, "healed": 1, "kept": 9, "rejected": 2}
    write_speech(folder, 2, start=4)
    assert counts(run_build(config)) == {"healed": 2, "kept": 10}


def truncated(path: Path) -> None:
    """Make a FLAC in the place of a WAV whose header is whole: only `quantize`, which decodes it, rejects it."""
    wave_N, rate = soundfile.read(path)
    soundfile.write(path.with_suffix(".flac"), wave_N, rate)
    data = path.with_suffix(".flac").read_bytes()
    path.with_suffix(".flac").unlink()
    path.write_bytes(data[: len(data) // 2])


def test_facts_and_files_that_both_differ_are_told_apart(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    run_build(config)
    (folder / "clip003.txt").write_text("mended")
    (folder / "clip004.txt").write_text("mended, and read anew")
    write_speech(tmp_path / "other", 1, start=20)
    shutil.copy(tmp_path / "other" / "clip020.wav", folder / "clip004.wav")
    config["sources"][0]["path"] = str(shutil.copytree(folder, tmp_path / "moved", copy_function=shutil.copy))
    decoded.since()
    built = run_build(config)
    assert counts(built) == {"changed": 1, "mended": 1, "kept": 10}
    assert decoded.since() in (1, 2), "once for its units; once for its FLAC, unless a shard at hand has the same audio"
    check_like_new(built, config, run_build, tmp_path)


def test_gates_compare_what_the_sources_list(config: Config, generated: Path, run_build: RunBuild) -> None:
    """Rows of files that are gone stay, but count for no gate."""
    config |= {"gates": {"hours": 0.35}, "max_reject_ratio": 0.5}
    (generated / "clip011.wav").write_bytes(b"no audio")
    first = run_build(config).version
    lost = {path: path.read_bytes() for path in sorted(generated.glob("clip*.wav"))[6:]}
    for path in lost:
        path.unlink()
    held_back = run_build(config)
    assert (held_back.new, counts(held_back)) == (True, {"gone": 6, "kept": 6})
    (point,) = held_back.version.review
    assert point.startswith("hours went from 0.007 to 0.004 since version 1")
    assert point.endswith("without 6 entries that no source lists any more")
    assert rows(held_back.version, "units") == rows(first, "units")
    store = Store.open(held_back.version.store)
    assert list(verify(store, held_back.version)) == []
    assert held_back.version.statistics["gone"]["clips"] | {"samples": 0, "frames": 0, "words": 0} == {
        "entries": 6,
        "rejects": 1,
        "utterances": 5,
        "samples": 0,
        "frames": 0,
        "words": 0,
    }
    assert not run_build(config).new, "it is told once"
    write_speech(generated, 1, start=21)
    assert run_build(config).version.review, "more files do not make up for those that are lost"
    assert approve(store, run_build(config).version)
    write_speech(generated, 1, start=28)
    assert run_build(config).version.review == [], "what was approved is what later versions are compared with"
    for path, data in lost.items():
        path.write_bytes(data)
    assert run_build(config).version.review, "that all come back is worth a look too"


def test_a_candidate_whose_files_are_back_needs_no_look(config: Config, generated: Path, run_build: RunBuild) -> None:
    config["gates"] = {"gone": 0.1}
    run_build(config)
    data = {path: path.read_bytes() for path in (generated / "clip000.wav", generated / "clip001.wav")}
    for path in data:
        path.unlink()
    (point,) = run_build(config).version.review
    assert point == "clips: 16.7% of its utterances are not listed any more since version 1 (gate 10.0%)"
    for path, content in data.items():
        path.write_bytes(content)
    again = run_build(config)
    assert (again.version.number, again.version.review, counts(again)) == (3, [], {"kept": 12})
    (generated / "clip000.wav").unlink()
    assert not run_build(config).new, "one is within the gate"


def test_gone_entries_are_kept_removed_or_fail(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    run_build(config)
    (folder / "clip003.wav").unlink()
    built = run_build(config)
    assert (built.new, counts(built)) == (False, {"gone": 1, "kept": 11})
    config["sources"][0]["gone"] = "fail"
    with pytest.raises(UserError, match=r"not listed any more: 1 of clips \(for instance clips/clip003\.wav\); bring"):
        run_build(config)
    config["sources"][0]["gone"] = "remove"
    decoded.since()
    built = run_build(config)
    assert (counts(built), decoded.since()) == ({"removed": 1, "kept": 11}, 0)
    check_like_new(built, config, run_build, tmp_path)
    write_speech(folder, 1, start=3)
    assert counts(run_build(config)) == {"new": 1, "kept": 11}


def test_a_source_that_leaves_the_config_needs_a_word(
    config: Config, folder: Path, run_build: RunBuild, make_speech: MakeSpeech, tmp_path: Path
) -> None:
    make_speech(tmp_path / "more", 3, start=20)
    both = [*config["sources"], {"kind": "folder", "path": str(tmp_path / "more"), "dataset": "more"}]
    run_build({**config, "sources": both})
    with pytest.raises(UserError, match=r"3 of more \(for instance more/.*no source has the dataset more; bring it"):
        run_build(config)
    built = run_build({**config, "gone": "keep"})
    assert (built.new, counts(built)) == (False, {"gone": 3, "kept": 12})
    built = run_build({**config, "gone": "remove"})
    assert counts(built) == {"removed": 3, "kept": 12}
    check_like_new(built, config, run_build, tmp_path)


def test_a_dataset_is_renamed_without_decoding(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    first = run_build(config).version
    (folder / "clip003.wav").unlink()
    config["sources"][0] |= {"dataset": "named", "renamed_from": "clips", "gone": "remove"}
    decoded.since()
    built = run_build(config)
    assert (counts(built), decoded.since()) == ({"mended": 11, "removed": 1}, 0)
    before = rows(first, "units")
    assert {name: row["units"] for name, row in rows(built.version, "units").items()} == {
        name.replace("clips/", "named/"): row["units"] for name, row in before.items() if "003" not in name
    }
    check_like_new(built, config, run_build, tmp_path)
    assert not run_build(config).new


REJECTS = {"empty": b"", "text": b"no audio", "noise": bytes(5_000), "header": b"RIFF", "page": b"OggS" + bytes(300)}


@pytest.mark.parametrize("again", ["touched", "copied", "rehashed", "grown"])
def test_a_reject_of_the_same_bytes_is_kept(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path, again: str
) -> None:
    for name, data in REJECTS.items():
        (folder / f"{name}.wav").write_bytes(data)
    (folder / "absent.wav").symlink_to(tmp_path / "nothing")
    config["max_reject_ratio"] = 0.5
    assert counts(run_build(config)) == {"new": 18, "rejected": 6}
    if again == "grown":  # the rejects are taken over into another work unit first
        config["work_units"] = {"minutes": 0.1, "items": 7}
        write_speech(folder, 1, start=40)
        assert counts(run_build(config)) == {"new": 1, "kept": 18, "rejected": 6}
    if again == "copied":
        config["sources"][0]["path"] = str(
            shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy, symlinks=True)
        )
    else:
        for path in folder.glob("*.wav"):
            os.utime(path, (0, 0)) if path.exists() else None
    decoded.since()
    built = run_build({**config, "run": {"rehash": True}} if again == "rehashed" else config)
    kept = 19 if again == "grown" else 18
    assert (built.new, counts(built), decoded.since()) == (False, {"kept": kept, "rejected": 6}, 0)
    (Path(config["sources"][0]["path"]) / "text.wav").write_bytes(b"no sound")
    assert counts(run_build(config)) == {"changed": 1, "kept": kept - 1, "rejected": 6}


def test_what_is_gone_from_a_renamed_dataset_has_the_new_name_too(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded, tmp_path: Path
) -> None:
    (folder / "clip002.wav").write_bytes(b"no audio")
    run_build({**config, "max_reject_ratio": 0.5})
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    for number in (2, 3, 4):
        (folder / f"clip{number:03d}.wav").unlink()
    (whole / "clip002.wav").unlink()  # a reject whose file cannot be tried again
    config["sources"][0] |= {"dataset": "named", "renamed_from": "clips"}
    decoded.since()
    built = run_build(config)
    assert (counts(built), decoded.since()) == ({"mended": 9, "gone": 2, "removed": 1}, 0)
    assert built.version.statistics["gone"]["named"]["utterances"] == 2
    del config["sources"][0]["renamed_from"]
    assert not run_build(config).new
    shutil.copy(whole / "clip003.wav", folder)
    shutil.copy(whole / "clip004.wav", folder)
    (folder / "clip004.txt").write_text("a mended text")
    (whole / "clip004.txt").write_text("a mended text")
    assert counts(run_build(config)) == {"mended": 1, "kept": 10}
    check_like_new(
        run_build(config), {**config, "sources": [config["sources"][0] | {"path": str(whole)}]}, run_build, tmp_path
    )


def test_another_vocabulary_needs_no_source_audio(
    config: Config, folder: Path, run_build: RunBuild, decoded: Decoded
) -> None:
    shutil.copy(folder / "clip005.wav", folder / "clip006.wav")  # two utterances of the same audio
    first = run_build(config).version
    kept = (folder / "clip000.wav").read_bytes()
    for path in folder.glob("clip*.wav"):
        path.unlink()
    (folder / "clip000.wav").write_bytes(kept)
    decoded.since()
    built = run_build({**config, "unit_language": {"vocab_size": 40}, "shards": {"hours": 0.01}})
    assert (counts(built), decoded.since()) == ({"gone": 11, "kept": 1}, 0)
    assert built.version.artifacts["unit_language"] != first.artifacts["unit_language"]
    assert {name: row["audio"] for name, row in rows(built.version, "s2t", "example_id").items()} == {
        name: row["audio"] for name, row in rows(first, "s2t", "example_id").items()
    }
    assert list(verify(Store.open(built.version.store), built.version)) == []


def test_other_words_need_no_source_at_all(config: Config, folder: Path, run_build: RunBuild, decoded: Decoded) -> None:
    first = run_build(config).version
    shutil.rmtree(folder)
    decoded.since()
    built = run_build({**config, "sources": [], "gone": "keep", "unit_language": {"vocab_size": 40}})
    assert (counts(built), decoded.since()) == ({"gone": 12}, 0)
    assert built.version.artifacts["unit_language"] != first.artifacts["unit_language"]
    assert list(verify(Store.open(built.version.store), built.version)) == []


def test_a_first_build_without_a_source_is_refused(config: Config, run_build: RunBuild) -> None:
    with pytest.raises(UserError, match="no speech found"):
        run_build({**config, "sources": [], "gone": "keep"})


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
    assert counts(built) == {"new": 2, "kept": 2}
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
    assert (again.new, counts(again)) == (False, {"kept": 13, "rejected": 1})
    manifest.write_text("\n".join(map(json.dumps, rows)))
    built = run_build(config)
    assert (built.new, counts(built), rows_of_rejects(built)) == (True, {"removed": 1, "kept": 12}, {})
    assert not run_build(config).new, "shards of the same contents stay, whatever the names of their work units"


def rows_of_rejects(built: Built) -> dict[str, dict[str, Any]]:
    return rows(built.version, "rejects")
