import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.entries.roots import recorded_roots
from pipelines.errors import UserError
from pipelines.export import kept_audio
from pipelines.export.base import known_formats
from pipelines.export.formats.webdataset import WebDataset
from pipelines.export.kept_audio import KeptAudio
from pipelines.export.plan import Shard, plan
from pipelines.export.run import Request, export, local_folder
from pipelines.export.utterances import utterances
from storage.records import CHECKSUM
from storage.versions import resolve
from tests.pipelines.export.corpora import RATE, SHARD_HOURS, Corpus, exported, files_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
FORMATS = sorted(known_formats())


@pytest.fixture
def movable(corpus: Corpus) -> Iterator[Corpus]:
    """The corpus, whose source files a test may move away; they come back."""
    kept = corpus.sources.with_name("kept")
    shutil.copytree(corpus.sources, kept)
    yield corpus
    shutil.rmtree(corpus.sources)
    kept.rename(corpus.sources)


def test_every_module_of_a_format_has_its_name() -> None:
    assert FORMATS == ["hf", "kaldi", "shar", "webdataset"]
    assert {found.__module__.rpartition(".")[2]: name for name, found in known_formats().items()} == {
        name: name for name in FORMATS
    }


@pytest.mark.parametrize("name", FORMATS)
def test_the_files_depend_on_neither_threads_nor_folder(corpus: Corpus, tmp_path: Path, name: str) -> None:
    one, three = (exported(corpus, tmp_path / str(threads), name, threads) for threads in (1, 3))
    files = files_of(one)
    assert files == files_of(three)
    summary = json.loads((one / "export.json").read_text())
    listed = {file["path"]: file["sha256"] for file in summary["files"]}
    assert listed == {path: digest for path, digest in files.items() if path != "export.json"}
    assert summary["left_out"] == {"written": 1}


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_that_failed_goes_on_and_keeps_finished_files(movable: Corpus, tmp_path: Path, name: str) -> None:
    whole = files_of(exported(movable, tmp_path / "whole", name))
    book = next(movable.sources.glob("*mono.16000.wav"))
    book.rename(tmp_path / "book.wav")
    folder = tmp_path / "again"
    with pytest.raises(UserError, match=r"mono\.16000\.wav.*the training shards do not hold books/book-0"):
        exported(movable, folder, name, threads=1)
    done = {path: (folder / path).stat().st_mtime_ns for path in files_of(folder) if path in whole}
    assert done
    assert not (folder / "export.json").exists()
    (tmp_path / "book.wav").rename(book)
    exported(movable, folder, name, threads=1)
    assert files_of(folder) == whole
    assert {path: (folder / path).stat().st_mtime_ns for path in done} == done


def test_a_finished_file_that_was_cut_is_written_again(corpus: Corpus, tmp_path: Path, interrupted: Path) -> None:
    (path, *_) = sorted(interrupted.glob("*.tar"))
    path.write_bytes(path.read_bytes()[:-1])
    exported(corpus, interrupted, "webdataset")
    assert files_of(interrupted) == files_of(exported(corpus, tmp_path / "whole", "webdataset"))


@pytest.fixture
def interrupted(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An export of WebDataset that ended before its last step."""
    with monkeypatch.context() as patch:
        patch.setattr(WebDataset, "finish", _fail)
        with pytest.raises(RuntimeError):
            exported(corpus, tmp_path / "interrupted", "webdataset")
    return tmp_path / "interrupted"


def _fail(*_: Any) -> list[str]:
    raise RuntimeError


@pytest.mark.parametrize(
    ("name", "hours"), [("kaldi", SHARD_HOURS), ("webdataset", 2 * SHARD_HOURS)], ids=["format", "size of shards"]
)
def test_an_unfinished_export_of_something_else_is_refused(
    corpus: Corpus, interrupted: Path, name: str, hours: float
) -> None:
    before = files_of(interrupted)
    with pytest.raises(UserError, match="holds an unfinished export of something else"):
        exported(corpus, interrupted, name, hours=hours)
    assert files_of(interrupted) == before


def test_an_unfinished_export_of_another_version_is_refused(corpus: Corpus, interrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus.store.uri, tmp_path / "store")
    (manifest,) = (tmp_path / "store" / "manifests").iterdir()
    values = json.loads(manifest.read_text())
    del values[CHECKSUM]
    values["created"] = "2020-01-01T00:00:00+00:00"
    manifest.write_text(json.dumps(values))
    store, version = resolve(tmp_path / "store")
    with pytest.raises(UserError, match="holds an unfinished export of something else"):
        export(Request(store, version, interrupted, "webdataset", SHARD_HOURS, 1), Console(quiet=True))


def test_folders_with_other_contents_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files; name a new or empty folder"):
        exported(corpus, tmp_path, "webdataset")
    with pytest.raises(UserError, match=r"notes\.txt is a file; name a new folder"):
        exported(corpus, tmp_path / "notes.txt", "webdataset")
    finished = exported(corpus, tmp_path / "finished", "webdataset")
    with pytest.raises(UserError, match="holds a finished export"):
        exported(corpus, finished, "webdataset")
    with pytest.raises(UserError, match="no such format; did you mean `kaldi`"):
        exported(corpus, tmp_path / "new", "kladi")
    with pytest.raises(UserError, match="name a folder, and copy it to a server afterwards"):
        local_folder("s3://bucket/x")


def test_two_exports_into_one_folder_at_a_time_are_refused(corpus: Corpus, interrupted: Path) -> None:
    descriptor = os.open(interrupted / ".export", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another process exports into it"):
        exported(corpus, interrupted, "webdataset")
    os.close(descriptor)
    exported(corpus, interrupted, "webdataset")


def test_a_disk_that_refuses_is_a_clear_error(corpus: Corpus) -> None:
    with pytest.raises(UserError, match=r"cannot write /proc/nothing: "):
        exported(corpus, Path("/proc/nothing/here"), "webdataset")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_audio_whose_source_is_gone_or_changed_comes_from_the_training_shards(
    movable: Corpus, tmp_path: Path, name: str, how: str
) -> None:
    whole = files_of(exported(movable, tmp_path / "whole", name))
    for path in movable.sources.glob("*"):
        if path.suffix in {".wav", ".flac"} and "mono.16000" not in path.name and "helpful" not in path.name:
            path.unlink() if how == "gone" else path.write_bytes(b"RIFF")
    assert files_of(exported(movable, tmp_path / "again", name)) == whole


def test_parts_of_training_shards_are_read_once_a_work_unit(
    movable: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, int, tuple[str, ...]]] = []

    def counted(store: Any, path: str, group: int, columns: list[str]) -> Any:
        read.append((path, group, tuple(columns)))
        return original(store, path, group, columns)

    original = kept_audio.read_row_group
    monkeypatch.setattr(kept_audio, "read_row_group", counted)
    exported(movable, tmp_path / "sources", "webdataset")
    assert read == []
    for path in movable.sources.glob("*LJ001*"):
        path.unlink()
    exported(movable, tmp_path / "shards", "webdataset")
    with_audio = [place for place in read if "audio" in place[2]]
    work_units = len(movable.version.files("utterances"))
    assert 0 < len(with_audio) <= 2 * work_units * len(movable.version.files("s2t"))


COMMAND = (sys.executable, "-c", "from flows.cli import main; main()", "export")


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_command_goes_on_where_it_was(corpus: Corpus, tmp_path: Path, sent: signal.Signals) -> None:
    folder = tmp_path / "export"
    options = (corpus.version.uri, str(folder), "--format", "webdataset", "--shard-hours", "0.001", "--threads", "2")
    process = subprocess.Popen([*COMMAND, *options], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list((folder / ".export").glob("*.json"))) < 4:
        time.sleep(0.002)
    process.send_signal(sent)
    process.wait(timeout=60)
    assert not (folder / "export.json").exists(), "it ended before the signal"
    receipts = [json.loads(path.read_text()) for path in (folder / ".export").glob("t*.json")]
    done = {folder / file["path"]: (folder / file["path"]).stat().st_mtime_ns for files in receipts for file in files}
    assert done
    again = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    assert "left out: 1 written" in again.stdout
    whole = exported(corpus, tmp_path / "whole", "webdataset", hours=0.001)
    assert files_of(folder) == files_of(whole)
    assert {path: path.stat().st_mtime_ns for path in done} == done


HOUR = """
import resource, sys
from pathlib import Path
import numpy as np
from pipelines.export.base import known_formats
from pipelines.export.utterances import Utterance

noise_N = np.random.default_rng(0).integers(-3000, 3000, 160_000).astype(np.int16)
facts = dict.fromkeys(["split", "text", "language", "speaker", "dialogue_id", "turn", "role"])
facts |= {"dataset": "d", "task": "asr", "num_samples": 160_000, "num_frames": 500}
facts |= {"units": [1] * 250, "durations": [2] * 250, "words": [7] * 125}
chosen = known_formats()[sys.argv[1]]()
for count in (40, 360):
    listed = (Utterance({**facts, "id": f"d/{n}"}, iter(np.split(noise_N, 4))) for n in range(count))
    chosen.write([Path(sys.argv[2], f"{count}.part"), Path(sys.argv[2], f"{count}-2.part")], listed)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
"""Writes seven minutes, then an hour of noise, and prints the most memory in MB after each."""


@pytest.mark.parametrize("name", FORMATS)
def test_memory_does_not_grow_with_a_shard(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", HOUR, name, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    few, many = map(int, done.stdout.split())
    size = max(path.stat().st_size for path in tmp_path.iterdir()) / 2**20
    assert size > 75
    assert many - few < size / 2


def test_shards_hold_consecutive_utterances_up_to_the_limit(corpus: Corpus, truth: dict[str, Any]) -> None:
    made = plan(corpus.store, corpus.version, SHARD_HOURS)
    limit = round(SHARD_HOURS * 3600 * RATE)
    assert sum(shard.utterances for shard in made.shards) == len(truth)
    assert made.seconds * RATE == sum(facts["num_samples"] for facts in truth.values())
    kept = KeptAudio(corpus.store, corpus.version)
    for split in {shard.split for shard in made.shards}:
        shards = [shard for shard in made.shards if shard.split == split]
        assert [(shard.number, shard.count) for shard in shards] == [(n, len(shards)) for n in range(len(shards))]
        lengths = [[facts["num_samples"] for facts in _facts(corpus, shard, kept)] for shard in shards]
        assert [sum(of_shard) for of_shard in lengths] == [shard.samples for shard in shards]
        assert max(map(sum, lengths)) <= limit
        for this, following in pairwise(lengths):
            assert sum(this) + following[0] > limit


def test_an_utterance_longer_than_the_limit_is_a_shard_of_its_own(corpus: Corpus) -> None:
    made = plan(corpus.store, corpus.version, 1e-6)
    assert {shard.utterances for shard in made.shards} == {1}


def _facts(corpus: Corpus, shard: Shard, kept: KeptAudio) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = []
    for utterance in utterances(corpus.store, shard, kept, recorded_roots(corpus.version)):
        facts.append(utterance.facts)
        assert sum(map(len, utterance.pcm)) == utterance.facts["num_samples"]
    return facts


def test_progress_counts_the_audio_that_is_left(
    corpus: Corpus, interrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, truth: dict[str, Any]
) -> None:
    caplog.set_level(logging.DEBUG, "pipelines.engine.progress")
    exported(corpus, interrupted, "webdataset")
    assert not [record for record in caplog.records if getattr(record, "progress", None)]
    exported(corpus, tmp_path / "all", "webdataset")
    last: Any = [record for record in caplog.records if getattr(record, "progress", None)][-1]
    assert last.progress.step == "export"
    assert last.progress.done == pytest.approx(sum(f["num_samples"] for f in truth.values()) / RATE)
    assert last.progress.left == pytest.approx(0)
