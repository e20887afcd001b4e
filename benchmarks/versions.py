"""Measure the peak memory of `echox versions` on a history of large versions.

    python benchmarks/versions.py [--versions 60] [--work-units 12000]

The store holds only the files of the versions and the cards of their artifacts: all that the command reads. Another
revision is measured on the same store with `PYTHONPATH=CHECKOUT python benchmarks/versions.py --store FOLDER`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.receipts import Receipt

LIST = """
import resource, sys
from flows.cli import app
app()(["versions", sys.argv[1]], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""
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


def make(folder: Path, versions: int, work_units: int) -> None:
    """Write a store of so many versions of the same work units."""
    from storage.artifacts import put_artifact
    from storage.store import Store
    from storage.versions import Version, commit

    store = Store.open(folder, create=True)
    counts = {"vocab_size": 8000, "words": [1, 2], "word_counts": [5, 5], "length_counts": [0, 10]}
    compression = {"num_frames": 40, "num_runs": 20, **counts}
    dataset = {"utterances": 9, "samples": 16_000, "rejects": {}, "compression": compression}
    receipts = {step: [_receipt(step, number) for number in range(work_units)] for step in STEPS}
    cards = {kind: {"card.json": json.dumps(card).encode()} for kind, card in CARDS.items()}
    artifacts = {kind: put_artifact(store, kind, kind, card) for kind, card in cards.items()}
    for number in range(1, versions + 1):
        version = Version(
            number=number,
            parent=number - 1 or None,
            steps=receipts,
            artifacts=artifacts,
            config={"features": {}, "quantizer": {}, "unit_language": {}, "sources": []},
            lineage={"specs": {}, "versions": {}},
            statistics={"entries": 9, "datasets": {"read": dataset}},
        )
        commit(store, version)


def _receipt(step: str, number: int) -> "Receipt":
    from storage.receipts import DataFile, Receipt

    paths = {table: f"data/{table}/{number:032x}-01234567-89abcdef.parquet" for table in STEPS[step]}
    files = tuple(DataFile(table, path, 300, 10**6, "a" * 64) for table, path in paths.items())
    return Receipt(f"{number:032x}", step, files, 300, 300, {}, {"seconds": [1800.0]})


def main() -> None:
    """Make a store unless one is given, list its versions, and print memory and seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", type=int, default=60)
    parser.add_argument("--work-units", type=int, default=12_000, help="of 30 min: 12,000 are 6,000 hours")
    parser.add_argument("--store", type=Path, help="measure this store, or make it if it is missing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = options.store or Path(scratch) / "store"
        if not store.exists():
            make(store, options.versions, options.work_units)
        sizes = [path.stat().st_size for path in (store / "manifests").iterdir()]
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-c", LIST, str(store)], capture_output=True, text=True, check=True)
        peak = int(done.stderr.splitlines()[-1]) * 1024 / 1e6
        seconds = time.monotonic() - begun
    print(f"{len(sizes)} versions of {max(sizes) / 1e6:.1f} MB: peak {peak:,.0f} MB, {seconds:.0f} s")


if __name__ == "__main__":
    main()
