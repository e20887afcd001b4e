"""After an erasure no file of the store holds the speech; the search here shares no code with the program."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.build.build import run_until
from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.config.build import check_config
from pipelines.errors import UserError
from pipelines.forget.absent import Searched, said_by_others, search
from pipelines.forget.erase import erase
from pipelines.forget.forget import Forgotten
from pipelines.forget.traces import Traces
from storage.collecting.marks import at_work
from storage.errors import StorageError
from storage.store import Store
from storage.versions import load, version_numbers
from tests.pipelines.forget.conftest import QUIET

Config = dict[str, Any]
RunBuild = Callable[..., Built]
Forgetting = Callable[..., Forgotten]
SHORTEST = {b"[": 100}
"""Bytes of the shortest runs of units that are sought: two persons may have the same few."""


def values(found: object) -> Iterator[bytes]:
    """Every value in a row, as bytes; texts also as JSON has them."""
    if isinstance(found, dict):
        for value in found.values():
            yield from values(value)
    elif isinstance(found, list):
        yield repr(found).encode()
    elif isinstance(found, str):
        yield found.encode()
    elif isinstance(found, bytes):
        yield found
        if found[:4] == b"fLaC":
            yield soundfile.read(io.BytesIO(found), dtype="int16")[0].tobytes()


def haystack(store: str) -> dict[str, bytes]:
    """All bytes of a store by path: of the files, and of all that their columns hold."""
    found: dict[str, bytes] = {}
    for path in sorted(path for path in Path(store).rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += b"\0".join(part for row in pq.read_table(path).to_pylist() for part in values(row))
        found[str(path.relative_to(store))] = data
    return found


def holding(store: str, needles: set[bytes]) -> set[str]:
    return {path for path, data in haystack(store).items() if any(needle in data for needle in needles)}


def needles_of(store: str, names: set[str], audio: list[Path]) -> set[bytes]:
    """Contents that must be gone: ids, texts, units, FLAC, the files and their samples."""
    found = {name.encode() for name in names}
    for path in Path(store).rglob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            if (row.get("utterance_id") or row.get("example_id")) in names:
                kept = {n: row.get(n) for n in ("text", "transcript", "response", "audio", "units", "words")}
                found |= {part for value in kept.values() for part in values(value)}
    for path in audio:
        found |= {path.read_bytes(), soundfile.read(path, dtype="int16")[0].tobytes()}
    return {needle for needle in found if len(needle) > SHORTEST.get(needle[:1], 3)}


def traces(store: str, ids: set[str] | None = None) -> list[Searched]:
    opened = Store.open(store)
    sought = Traces.of(opened, ids)
    found = search(opened, sought.besides(said_by_others(opened, sought)))
    return [file for file in found if file.found]


def test_nothing_of_a_speaker_is_left(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path
) -> None:
    config |= {"quantizer": {"k": 12, "iterations": 3}}
    store = config["store"]
    run_build(config)
    names = {f"clips/clip{n:03d}.wav" for n in (1, 4, 7, 10)}
    needles = needles_of(store, names, [spoken.parent / f"clip{n:03d}.wav" for n in (1, 4, 7, 10)])
    assert len(needles) >= 4 * 6
    (spoken.parent / "clip011.wav").write_bytes(b"")
    config["max_reject_ratio"] = 0.5
    run_build(config)
    run_until(check_config({**config, "shards": {"hours": 1}}, "test", Path.cwd()), QUIET, "shard")
    Store.open(store).put("failures/ingest.json", json.dumps({"places": ["utterance clips/clip001.wav"]}).encode())
    forgetting(store, speaker="bob")
    before = {file.path for file in traces(store)}
    by_hand = holding(store, needles)
    assert by_hand <= before, "the search of `verify` finds at least what a search of all bytes finds"
    assert {path.rpartition("/")[0] for path in before} == {
        *("data/items", "data/utterances", "data/units", "data/unit_language", "data/sample_features"),
        *("training/s2t", "failures"),
    }
    kept = load(Store.open(store), 3)
    garbage = erase(store)
    assert garbage.expired == (1, 2)
    assert holding(store, needles) == set()
    assert traces(store) == traces(store, names) == []
    assert version_numbers(Store.open(store)) == [3]
    assert load(Store.open(store), 3) == kept
    assert list(verify(Store.open(store), kept)) == []
    assert not run_build(config).new
    assert erase(store).expired == ()


def test_real_speech(
    config: Config, run_build: RunBuild, forgetting: Forgetting, shared_data: Path, tmp_path: Path
) -> None:
    recordings = shared_data / "audio" / "fsdd" / "recordings"
    if not recordings.is_dir():
        pytest.skip(f"spoken digits not found at {recordings}")
    folder = tmp_path / "digits"
    folder.mkdir()
    rows = []
    for digit in range(10):
        for speaker in ("jackson", "nicolas"):
            name = next(recordings.glob(f"{digit}_{speaker}_*.wav")).name
            shutil.copy(recordings / name, folder / name)
            said = f"the digit {digit}" + (f" as {speaker} reads it" if digit % 2 else "")
            rows.append({"audio": name, "text": said, "speaker": speaker})
    manifest = folder / "digits.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config["sources"] = [{"kind": "manifest", "path": str(manifest), "dataset": "digits"}]
    store = config["store"]
    run_build(config)
    theirs = {f"digits/{row['audio']}" for row in rows if row["speaker"] == "nicolas"}
    shared = {f"the digit {digit}".encode() for digit in range(0, 10, 2)}
    needles = needles_of(store, theirs, [folder / name.removeprefix("digits/") for name in theirs]) - shared
    found = forgetting(store, speaker="nicolas")
    assert found.utterances == 10
    assert holding(store, needles)
    erase(store)
    assert holding(store, needles) == set()
    assert traces(store) == []
    sought = Traces.of(Store.open(store))
    assert len(said_by_others(Store.open(store), sought)) == 5, "the other speaker says these five too"
    assert not run_build(config).new


@pytest.mark.parametrize(
    "place", ["data/old.jsonl", "reports/00000009.html", "runs/a/run.json", "training/s2t/x.parquet"]
)
def test_a_trace_in_any_file_is_found(config: Config, run_build: RunBuild, forgetting: Forgetting, place: str) -> None:
    """Also in files that no version refers to, and that the program never wrote."""
    run_build(config)
    opened = Store.open(config["store"])
    (old,) = [f.path for f in load(opened, 1).files("s2t")][:1]
    shard = opened.get(old)
    forgetting(config["store"], speaker="bob")
    erase(config["store"])
    assert traces(config["store"]) == []
    text = "bob says number 4"
    made = {
        "data/old.jsonl": json.dumps({"a": [{"b": text}]}).encode(),
        "reports/00000009.html": b"<td>rejected: clips/clip004.wav, see there</td>",
        "runs/a/run.json": json.dumps({"note": f"heard {len(text)} clips/clip004.wav"}).encode(),
        "training/s2t/x.parquet": shard,
    }
    opened.put(place, made[place])
    assert [file.path for file in traces(config["store"])] == [place]
    ids = {"clips/clip00", "clips/clip004", "lip004.wav"}
    assert traces(config["store"], ids) == [], "these only occur inside of other ids"


def test_versions_without_the_speech_stay(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    whole = spoken.read_text()
    spoken.write_text("".join(f"{line}\n" for line in whole.splitlines() if "bob" not in line))
    run_build(config)
    spoken.write_text(whole)
    run_build(config)
    forgetting(config["store"], speaker="bob")
    assert erase(config["store"]).expired == (2,)
    assert version_numbers(Store.open(config["store"])) == [1, 3]
    for number in (1, 3):
        assert list(verify(Store.open(config["store"]), load(Store.open(config["store"]), number))) == []


def test_it_refuses_while_a_program_is_at_work_and_before_a_version_is_without_the_speech(
    config: Config, run_build: RunBuild, forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_build(config)
    with pytest.raises(UserError, match="nothing is suppressed, so there is nothing to erase"):
        erase(config["store"])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.forget.forget.without_suppressed", killed)
        with pytest.raises(KeyboardInterrupt):
            forgetting(config["store"], speaker="bob")
    with pytest.raises(UserError, match="was made without all suppression lists of the store; end `echox forget`"):
        erase(config["store"])
    forgetting(config["store"], speaker="bob")
    before = {path: path.read_bytes() for path in Path(config["store"]).rglob("*") if path.is_file()}
    with (
        at_work(Store.open(config["store"]), "never"),
        pytest.raises(StorageError, match="a program is at work there"),
    ):
        erase(config["store"])
    assert erase(config["store"], dry_run=True).expired == (1,)
    assert {path: path.read_bytes() for path in Path(config["store"]).rglob("*") if path.is_file()} == before
