"""Measure what a version of a large corpus costs: bytes of a night, and time and memory of commands on a long history.

    python benchmarks/versions.py [--versions 60] [--work-units 12841]

The store holds only the files of the versions and the cards of their artifacts: all that `echox versions` reads. Each
version replaces 0.05 % of the work units of the one before, spread over the corpus, and adds as many. Another revision
is measured with `PYTHONPATH=CHECKOUT python benchmarks/versions.py`.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.receipts import Receipt

PEAK = """
import re
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
"""
"""Tells the peak memory; `getrusage` would tell that of this process, if it is larger."""
LIST = """
import sys
from flows.cli import app
app()(["versions", sys.argv[1]], standalone_mode=False)
"""
READ = """
import sys
from storage.versions import resolve
print(len(resolve(sys.argv[1])[1].files("units")))
"""
CHANGED = 0.0005
"""Share of the work units that a version replaces, and share that it adds."""
STEPS = {
    "ingest": ["utterances"],
    "quantize": ["units", "rejects"],
    "encode": ["unit_language"],
    "shard": ["s2t", "t2c", "echo"],
}
CARDS = {
    "quantizer": {"features": {"kind": "hubert", "layer": 9}, "k": 500, "fitted": {}},
    "unit_language": {
        "vocab_size": 8000,
        "requested_vocab_size": 8000,
        "config": {"algorithm": "bpe", "max_word_units": 16, "sample_hours": 500.0},
    },
}


def make(folder: Path, versions: int, work_units: int) -> list[int]:
    """Write a store of so many versions; return the bytes that each version added to it."""
    from storage.artifacts import put_artifact
    from storage.store import Store
    from storage.versions import Version, commit, latest

    store = Store.open(folder, create=True)
    counts = {"vocab_size": 8000, "words": [1, 2], "word_counts": [5, 5], "length_counts": [0, 10]}
    compression = {"num_frames": 40, "num_runs": 20, **counts}
    dataset = {"utterances": 9, "samples": 16_000, "rejects": {}, "compression": compression}
    cards = {kind: {"card.json": json.dumps(card).encode()} for kind, card in CARDS.items()}
    artifacts = {kind: put_artifact(store, kind, kind, card) for kind, card in cards.items()}
    sizes = [_size(folder)]
    for number, units in zip(range(1, versions + 1), _histories(work_units), strict=False):
        version = Version(
            number=number,
            parent=number - 1 or None,
            steps={step: [_receipt(step, unit) for unit in units] for step in STEPS},
            artifacts=artifacts,
            config={"features": {}, "quantizer": {}, "unit_language": {}, "sources": []},
            lineage={"specs": {}, "versions": {}},
            statistics={"entries": 9, "datasets": {"read": dataset}},
        )
        latest(store)  # a build reads its parent
        commit(store, version)
        sizes.append(_size(folder))
    return [after - before for before, after in pairwise(sizes)]


def _histories(work_units: int) -> Iterator[list[int]]:
    """Yield the numbers of the work units of each version."""
    units, chance = list(range(work_units)), random.Random(0)
    while True:
        yield units
        gone = {chance.randrange(len(units)) for _ in range(round(CHANGED * work_units))}
        first = max(units) + 1
        units = [unit for place, unit in enumerate(units) if place not in gone]
        units += range(first, first + len(gone) + round(CHANGED * work_units))


def _size(folder: Path) -> int:
    """Bytes of all files of a store."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _measured(program: str, store: Path) -> str:
    """Peak memory and time of a program in a process of its own."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program + PEAK, str(store)], capture_output=True, text=True, check=True
    )
    peak = int(done.stderr.splitlines()[-1]) * 1024 / 1e6
    return f"{peak:,.0f} MB, {time.monotonic() - begun:.1f} s"


def _receipt(step: str, number: int) -> "Receipt":
    from storage.receipts import DataFile, Receipt

    paths = {table: f"data/{table}/{number:032x}-01234567-89abcdef.parquet" for table in STEPS[step]}
    files = tuple(DataFile(table, path, 300, 10**6, "a" * 64) for table, path in paths.items())
    return Receipt(f"{number:032x}", step, files, 300, 300, {}, {"seconds": [1800.0]})


def main() -> None:
    """Make a store, and print what its versions, `echox versions` and reading the last version cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", type=int, default=60)
    parser.add_argument("--work-units", type=int, default=12_841, help="of 30 min: 12,841 are 1.5 million utterances")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "store"
        first, *nights = make(store, options.versions, options.work_units)
        print(f"first version: {first / 1e6:.2f} MB")
        print(f"a night: {mean(nights) / 1e6:.3f} MB on average, {max(nights) / 1e6:.2f} MB at most")
        print(f"echox versions of {options.versions} versions: {_measured(LIST, store)}")
        print(f"reading the last version: {_measured(READ, store)}")
        print(f"files of the last version: {len(_lists(store)) + 1}")


def _lists(store: Path) -> list[str]:
    from storage.versions import resolve

    return getattr(resolve(store)[1], "lists", [])


if __name__ == "__main__":
    main()
