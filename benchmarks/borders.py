"""Count the work that an unfinished first build does again after its manifest was changed.

    python benchmarks/borders.py [--entries 12_000] [--minutes 30] [--items 1024]

The utterances are up to 20 s long. Their first build is stopped after `ingest`, so that no version holds them. Then
lines of the manifest change, and the build goes on: counted are the work units of `ingest` that it computes, and the
files of utterances that are new, each of which is a work unit of each later step. Another revision is measured with
`PYTHONPATH=CHECKOUT python benchmarks/borders.py`.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import soundfile
from rich.console import Console

from pipelines.build.build import run_until
from pipelines.config.build import check_config
from pipelines.records import utterance_files

RATE = 16_000
CLIPS = 19
"""Audio files, of 2 to 20 s; utterances share them, which changes nothing here and saves their making."""
Lines = Sequence[dict[str, Any]]


def entries(numbers: Sequence[int]) -> Lines:
    """Lines of a manifest of utterances with these numbers."""
    chosen = (random.Random(number).randrange(CLIPS) for number in numbers)
    return [
        {"id": f"u{number}", "audio_filepath": f"clips/{clip}.wav", "text": f"utterance {number}"}
        for number, clip in zip(numbers, chosen, strict=True)
    ]


def changes(count: int) -> Iterator[tuple[str, Lines]]:
    """Yield each change of the manifest, and its lines after it."""
    before = entries(range(count))
    (new,) = entries([count])
    middle = count // 2
    yield "a line at the head", [new, *before]
    yield "a line in the middle", [*before[:middle], new, *before[middle:]]
    yield "a line at the end", [*before, new]
    yield "the first line removed", before[1:]
    yield "a line in the middle removed", [*before[:middle], *before[middle + 1 :]]
    scattered = list(before)
    for number, line in enumerate(entries(range(count, count + count // 100))):
        scattered.insert(random.Random(number).randrange(len(scattered)), line)
    yield "1 % of lines, scattered", scattered


def made(folder: Path, store: Path, lines: Lines, sizes: dict[str, float]) -> tuple[set[str], set[str]]:
    """Names of the work units of `ingest`, and digests of the files of utterances, after a build up to that step."""
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = {"kind": "manifest", "path": str(folder / "manifest.jsonl"), "dataset": "d"}
    values = {"store": str(store), "sources": [source], "work_units": sizes, "features": {"kind": "mfcc"}}
    values["run"] = {"ray_above_seconds": 1e9}
    state = run_until(check_config(values, "benchmark", folder), Console(quiet=True), "ingest")
    receipts = state.steps["ingest"]
    return {receipt.fingerprint for receipt in receipts}, {file.sha256 for file in utterance_files(receipts)}


def counts(count: int, minutes: float, items: int) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield each change with the work units of `ingest` to compute, all of them, and the same of a later step.

    Args:
        count: number of lines of the manifest.
        minutes: `work_units.minutes`.
        items: `work_units.items`.
    """
    sizes = {"minutes": minutes, "items": items}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "clips").mkdir()
        for clip in range(CLIPS):
            soundfile.write(folder / f"clips/{clip}.wav", np.zeros((clip + 2) * RATE, np.int16), RATE)
        before = made(folder, folder / "unfinished", entries(range(count)), sizes)
        for number, (change, lines) in enumerate(changes(count)):
            store = folder / f"store{number}"
            copytree(folder / "unfinished", store)
            units, files = made(folder, store, lines, sizes)
            yield change, len(units - before[0]), len(units), len(files - before[1]), len(files)


def main() -> None:
    """Print a table of all changes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=12_000)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--items", type=int, default=1024)
    options = parser.parse_args()
    print("| change | work units of `ingest` | of each later step |\n|---|---|---|")
    for change, units, all_units, files, all_files in counts(options.entries, options.minutes, options.items):
        print(f"| {change} | {units} of {all_units} | {files} of {all_files} |", flush=True)


if __name__ == "__main__":
    main()
