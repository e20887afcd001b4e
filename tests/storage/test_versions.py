"""Versions are whole, numbered without gaps, and committed by one builder each."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from storage.artifacts import ArtifactRef
from storage.errors import CommitConflict, CorruptStore, StorageError
from storage.lists.steps import ListedSteps
from storage.receipts import DataFile, Receipt
from storage.records import sealed, to_json
from storage.store import Store
from storage.versions import Version, commit, history, latest, load, resolve, version_numbers

COMMITTER = """
import sys
from storage.errors import CommitConflict
from storage.versions import Version, commit, latest
from storage.store import Store
store, name, wanted = Store.open(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
while wanted:
    parent = latest(store)
    version = parent.number if parent else 0
    lineage = {"by": name, "weight": "x" * 20_000}
    try:
        commit(store, Version(number=version + 1, parent=version or None, steps={}, artifacts={}, config={},
                               lineage=lineage, statistics={}))
    except CommitConflict:
        continue
    print(version + 1, flush=True)
    wanted -= 1
"""
"""Commits so many versions; prints the number of each after its commit."""


def receipt(step: str, fingerprint: str, *tables: str) -> Receipt:
    files = tuple(DataFile(table, f"data/{table}/{fingerprint}.parquet", 1, 10, "ab") for table in tables)
    return Receipt(fingerprint, step, files, 1, 1, {}, {"seconds": [0.5]})


def a_version(number: int = 1, note: str = "") -> Version:
    return Version(
        number=number,
        parent=number - 1 or None,
        steps={
            "ingest": [receipt("ingest", "a", "utterances"), receipt("ingest", "b", "utterances", "rejects")],
            "encode": [receipt("encode", "c", "unit_language", "rejects")],
        },
        artifacts={"quantizer": ArtifactRef("quantizer", "q", "artifacts/quantizer/q")},
        config={"k": 100, "note": note},
        lineage={"sources": ["ü"]},
        statistics={"hours": 1.25},
        created="2030-01-01T00:00:00+00:00",
    )


def as_older_programs_wrote(version: Version) -> dict[str, Any]:
    """The file of a version with all receipts in it."""
    values = asdict(version)
    del values["store"]
    return {"format": 1, "version": values.pop("number"), **values}


def start(uri: str, name: str, wanted: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", COMMITTER, uri, name, str(wanted)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)


def go(process: "subprocess.Popen[str]") -> None:
    """Let a committer begin that has told that it is ready."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_version_comes_back(store: Store) -> None:
    assert latest(store) is None
    assert version_numbers(store) == []
    first = commit(store, a_version())
    assert first.uri == f"{store.uri}@1"
    assert load(store, 1) == first == latest(store) == replace(a_version(), store=store.uri)
    commit(store, a_version(2))
    assert version_numbers(store) == [1, 2]
    assert latest(store) == load(store, 2)


def test_file_is_for_people_too(store: Store) -> None:
    commit(store, a_version())
    text = store.get("manifests/00000001.json").decode()
    values = json.loads(text)
    assert values["format"] == 2
    assert "store" not in values
    checksum = values["checksum"]
    assert (
        checksum == sha256(to_json({name: value for name, value in values.items() if name != "checksum"})).hexdigest()
    )
    assert text == json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_files_of_a_table() -> None:
    paths = [file.path for file in a_version().files("rejects")]
    assert paths == ["data/rejects/c.parquet", "data/rejects/b.parquet"]
    assert [file.path for file in a_version().files("rejects", step="ingest")] == ["data/rejects/b.parquet"]
    assert a_version().files("rejects", step="shard") == []
    with pytest.raises(StorageError, match=r"no table 'nonsense'; there are .*rejects, "):
        a_version().files("nonsense")


def test_second_builder_conflicts(store: Store) -> None:
    commit(store, a_version())
    with pytest.raises(CommitConflict, match=r"committed version 1 .* first"):
        commit(store, a_version(note="mine"))
    assert load(store, 1).config["note"] == ""


def test_versions_have_no_gaps(store: Store) -> None:
    with pytest.raises(StorageError, match="no version 4 to build on"):
        commit(store, a_version(5))
    with pytest.raises(StorageError, match="does not follow"):
        commit(store, replace(a_version(2), parent=None))
    assert version_numbers(store) == []


def test_resolve(store: Store) -> None:
    with pytest.raises(StorageError, match=r"no corpus version yet|no store at"):
        resolve(store.uri)
    for version in (1, 2, 3):
        commit(store, a_version(version))
    assert resolve(store.uri)[1].number == 3
    found, second = resolve(f"{store.uri}@2")
    assert (found.uri, second.number, second.uri) == (store.uri, 2, f"{store.uri}@2")
    with pytest.raises(StorageError, match="has no version 9; it has 1 to 3"):
        resolve(f"{store.uri}@9")


def test_all_versions(store: Store) -> None:
    with pytest.raises(StorageError, match=r"no corpus version yet|no store at"):
        history(store.uri)
    for version in (1, 2, 3):
        commit(store, a_version(version))
    assert [made.number for made in history(store.uri)[1]] == [1, 2, 3]
    assert [made.uri for made in history(f"{store.uri}@2")[1]] == [f"{store.uri}@1", f"{store.uri}@2"]


def test_a_version_is_a_number(store: Store) -> None:
    commit(store, a_version())
    with pytest.raises(StorageError) as error:
        resolve(f"{store.uri}@latest")
    assert str(error.value).endswith(f". @VERSION is a number: {store.uri}@1, or {store.uri} for the last one")
    with pytest.raises(StorageError) as error:
        resolve(f"{store.uri}@latest/deeper")
    assert "@VERSION" not in str(error.value)


def test_unreadable_versions_are_reported(store: Store) -> None:
    good = as_older_programs_wrote(a_version())
    for values in (good | {"version": 2}, good | {"steps": 1}, {}, [], good | {"format": "new"}, good | {"format": 2}):
        store.put("manifests/00000001.json", json.dumps(values).encode())
        with pytest.raises(CorruptStore, match=r"00000001.json"):
            latest(store)
    for data, fault in ((b"{", ""), (b"[" * 100_000, r" \(too deep\)"), (b"\xff", ""), (b"[]", " object")):
        store.put("manifests/00000001.json", data)
        with pytest.raises(CorruptStore, match=rf"00000001.json: no JSON{fault}") as error:
            latest(store)
        assert "\n" not in str(error.value)
    store.put("manifests/00000001.json", b'{"format": 3}')
    with pytest.raises(StorageError, match="format 3, this program reads up to 2; upgrade"):
        latest(store)


def test_no_changed_bit_of_a_version_passes_unseen(tmp_path: Path) -> None:
    """Each bit either is told, or means the same: white space, a letter of an escape."""
    store = Store.open(tmp_path)
    expected = commit(store, a_version())
    path = tmp_path / "manifests" / "00000001.json"
    data = path.read_bytes()
    told = 0
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 7
        path.write_bytes(changed)
        try:
            assert load(store, 1) == expected
        except StorageError as error:
            told += 1
            assert str(path) in str(error)  # noqa: PT017 - either is right
            assert "\n" not in str(error)  # noqa: PT017
    assert told > 0.8 * len(data)


def test_a_changed_number_is_told_and_a_file_without_a_checksum_is_read(store: Store) -> None:
    commit(store, a_version())
    path = "manifests/00000001.json"
    values = json.loads(store.get(path))
    values["statistics"]["hours"] = 1.5
    store.put(path, to_json(values))
    fault = rf"{path}: not the file that was written .*checksum differs.*; restore it from a copy"
    with pytest.raises(CorruptStore, match=fault):
        load(store, 1)
    del values["checksum"]
    store.put(path, to_json(values))
    assert load(store, 1).statistics == {"hours": 1.5}


def test_foreign_files_among_the_versions_are_no_versions(store: Store) -> None:
    commit(store, a_version())
    for name in ("notes.txt", "2.json", "00000007.json.bak", "old/00000009.json"):
        store.put(f"manifests/{name}", b"")
    assert version_numbers(store) == [1]


def test_a_version_of_an_older_program_opens_and_is_taken_over_by_the_next(store: Store) -> None:
    old = as_older_programs_wrote(a_version())
    data = sealed(old)
    store.put("manifests/00000001.json", data)
    assert load(store, 1) == replace(a_version(), store=store.uri)
    assert load(store, 1).lists == []
    commit(store, a_version(2))
    assert store.get("manifests/00000001.json") == data
    assert load(store, 2).steps == load(store, 1).steps
    assert len(load(store, 2).lists) == 2


def test_the_next_version_shares_the_lists_of_its_parent_and_writes_what_is_new(store: Store) -> None:
    first = commit(store, a_version())
    before = {*store.list("lists")}
    ingest = [*first.steps["ingest"], receipt("ingest", "d", "utterances")]
    second = commit(store, replace(a_version(2), steps={**first.steps, "ingest": ingest}), first)
    (new,) = {*store.list("lists")} - before
    assert json.loads(store.get(new))["fingerprint"] == "d"
    assert {*first.lists} < {*second.lists}
    assert load(store, 2).steps == {**first.steps, "ingest": ingest} == second.steps
    assert load(store, 1) == first


def test_a_lost_or_damaged_list_is_named_when_it_is_read(store: Store) -> None:
    """Other steps can still be read, and the statistics too."""
    version = commit(store, a_version())
    path = f"lists/{version.steps.layouts['encode'].lists[0]}.jsonl" if isinstance(version.steps, ListedSteps) else ""
    data = store.get(path)
    store.put(path, data.replace(b'"rows":1', b'"rows":2'))
    with pytest.raises(CorruptStore, match=rf"{path}: not the file .*SHA-256 differs.*; restore it from a copy"):
        load(store, 1).files("units")
    store.delete(path)
    with pytest.raises(CorruptStore, match=rf"{path} does not exist; restore it from a copy"):
        load(store, 1).files("units")
    assert load(store, 1).statistics == {"hours": 1.25}
    assert load(store, 1).steps["ingest"] == version.steps["ingest"]
    store.delete("manifests/00000001.json")
    assert commit(store, a_version()).steps == version.steps == load(store, 1).steps
    assert store.get(path) == data


def test_a_damaged_list_is_healed_by_a_build_that_needs_it_anew(store: Store) -> None:
    (path, *_) = (f"lists/{name}.jsonl" for name in commit(store, a_version()).lists)
    data = store.get(path)
    store.put(path, b"")
    store.delete("manifests/00000001.json")
    commit(store, a_version())
    assert store.get(path) == data


@pytest.mark.slow
def test_eight_builders_at_once(store: Store) -> None:
    store.put("begun", b"")
    processes = [start(store.uri, str(number), 3) for number in range(8)]
    for process in processes:
        assert line(process) == "ready"
    for process in processes:
        go(process)
    said = {
        number: [int(text) for text in process.communicate()[0].split()] for number, process in enumerate(processes)
    }
    assert [process.returncode for process in processes] == [0] * 8
    assert version_numbers(store) == list(range(1, 25)) == sorted(chain(*said.values()))
    for number, numbers in said.items():
        assert {load(store, version).lineage["by"] for version in numbers} == {str(number)}


@pytest.mark.slow
def test_killed_builders_leave_whole_versions(store: Store) -> None:
    store.put("begun", b"")
    acknowledged = 0
    for attempt in range(4):
        processes = [start(store.uri, f"{attempt}-{number}", 10**6) for number in range(2)]
        for process in processes:
            assert line(process) == "ready"
        for process in processes:
            go(process)
        acknowledged = max(acknowledged, *(int(line(process)) for process in processes))
        time.sleep(0.021 * attempt)
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        rest = [process.communicate()[0].splitlines() for process in processes]
        acknowledged = max([acknowledged, *(int(text) for lines in rest for text in lines if text.isdigit())])
    existing = version_numbers(store)
    assert existing == list(range(1, len(existing) + 1))
    assert len(existing) >= acknowledged
    assert all(load(store, number).number == number for number in existing)
