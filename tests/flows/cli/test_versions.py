"""`echox versions`: one row per version, and bounded memory."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from storage.receipts import DataFile, Receipt
from storage.versions import commit
from tests.flows.conftest import Echox
from tests.flows.versions import a_version, statistics, store_of

PEAK = """
import resource, sys
from flows.cli import app
app()(["versions", *sys.argv[1:], "--json"], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""
"""Lists versions and prints the largest memory of the process in kB."""


def test_versions_for_people(store: Path, echox: Echox) -> None:
    listed = echox("versions", store)
    assert listed.returncode == 0
    assert listed.stdout.startswith("The only version: status accepted, features mfcc, k 10, algorithm bpe, ")
    (row,) = (line.split() for line in listed.stdout.splitlines() if line.startswith("  1 "))
    assert row[3:5] == ["0.005", "9"]


def test_versions_for_programs(store: Path, echox: Echox) -> None:
    listed = echox("versions", store, "--json")
    assert (listed.returncode, listed.stderr) == (0, "")
    values = json.loads(listed.stdout)
    (version,) = values["versions"]
    assert values["store"] == str(store)
    assert (version["version"], version["status"], version["utterances"], version["k"]) == (1, "accepted", 9, 10)
    assert (version["algorithm"], version["features"]["kind"], version["max_word_units"]) == ("bpe", "mfcc", 16)
    assert version["ratios"]["frames/words"] == version["total_ratio"]


def test_memory_does_not_grow_with_the_number_of_versions(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    files = tuple(DataFile("units", f"data/units/{number:064d}.parquet", 1, 10, "a" * 64) for number in range(4))
    receipts = [Receipt(f"{number:032d}", "quantize", files, 1, 1, {}, {}) for number in range(8_000)]
    first = commit(store, replace(a_version(one=statistics(1, 9)), steps={"quantize": receipts}))
    assert sum(size for _, size in store.sizes("lists")) > 6e6
    commit(store, replace(first, number=2, parent=1))
    memory = [peak(store.uri)]
    for number in range(3, 9):
        commit(store, replace(first, number=number, parent=number - 1))
    memory.append(peak(store.uri))
    assert memory[1] < memory[0] + 30_000  # kB; holding all of them took 25,000 for each


def peak(store: str) -> int:
    command = [sys.executable, "-c", PEAK, store]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return int(done.stderr.splitlines()[-1])
