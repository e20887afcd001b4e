"""CPU seconds of a build for each hour of audio, by step and kind of file, with features that cost little (MFCC).

    python benchmarks/beside_model.py [--minutes 8] [--kinds flac flac48 mp3] [--data FOLDER]

The work units run in this process, one after another. Digests of the FLAC in the shards and of the units, whatever
work unit they are in, tell whether two revisions make the same. Another revision is measured in the same run of a
shell with `PYTHONPATH=CHECKOUT python benchmarks/beside_model.py`. "sum" leaves out the sample for k-means.
"""

import argparse
import tempfile
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from extraction import utterances
from rich.console import Console

from pipelines.build.build import build
from pipelines.build.commit import Built
from pipelines.config.build import check_config
from pipelines.engine import isolation
from pipelines.engine.step import perform
from storage.store import Store
from storage.tables import read_table

DATA = Path(__file__).parents[2] / "shared" / "data"
RATE = 16_000
STEPS = ("ingest", "quantize", "encode", "shard")
KINDS = ("flac", "flac48", "mp3")


class Clock:
    """CPU seconds of work units by step."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        isolation.perform = self._perform

    def _perform(self, step: Any, *arguments: Any) -> Any:
        began = time.process_time()
        try:
            return perform(step, *arguments)
        finally:
            self.seconds[step.name] += time.process_time() - began  # pyright: ignore[reportArgumentType]


def write(folder: Path, kind: str, minutes: float, data: Path | None) -> float:
    """Write speech as files of a kind; return its hours."""
    samples = 0
    for number, waveform_N in enumerate(utterances(60 * minutes, data)):
        samples += len(waveform_N)
        rate = 48_000 if kind == "flac48" else RATE
        wave_N = np.repeat(waveform_N, rate // RATE)
        soundfile.write(folder / f"{number:05}", wave_N, rate, format="MP3" if kind == "mp3" else "FLAC")
        (folder / f"{number:05}").rename(folder / f"{number:05}.{kind.rstrip('48')}")
        (folder / f"{number:05}.txt").write_text(f"utterance {number}")
    return samples / RATE / 3600


def made(folder: Path) -> Built:
    """Build the corpus of the speech in a folder."""
    values = {
        "store": str(folder / "store"),
        "sources": [{"kind": "folder", "path": str(folder / "speech"), "dataset": "d"}],
        "features": {"kind": "mfcc"},
        "quantizer": {"k": 100, "iterations": 3, "sample_hours": 0.05},
        "unit_language": {"vocab_size": 200},
        "work_units": {"minutes": 2},
        "shards": {"hours": 0.1},
        "run": {"ray_above_seconds": 1e9},
    }
    return build(check_config(values, "benchmark", folder), Console(quiet=True))


def digest_of(built: Built) -> str:
    """Digest of the FLAC and the units of all utterances, in the order of their ids."""
    store = Store.open(built.version.store)
    digest = sha256()
    for table, column in (("s2t", "audio"), ("units", "units")):
        rows = [row for file in built.version.files(table) for row in read_table(store, file.path).to_pylist()]
        key = "example_id" if table == "s2t" else "utterance_id"
        for row in sorted(rows, key=lambda row: row[key]):
            digest.update(repr((row[key], row[column])).encode())
    return digest.hexdigest()[:12]


def main() -> None:
    """Print a row for each kind of file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--data", type=Path, default=DATA if DATA.is_dir() else None)
    options = parser.parse_args()
    clock = Clock()
    print(f"| CPU s / h of | {' | '.join(STEPS)} | sum | digest |\n|{'---|' * (len(STEPS) + 3)}")
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "speech").mkdir()
            hours = write(Path(folder) / "speech", kind, options.minutes, options.data)
            clock.seconds.clear()
            built = made(Path(folder))
            costs = [clock.seconds[step] / hours for step in STEPS]
            cells = " | ".join(f"{cost:.2f}" for cost in (*costs, sum(costs)))
            print(f"| {kind} | {cells} | {digest_of(built)} |", flush=True)


if __name__ == "__main__":
    main()
