"""Bytes that the steps of a build read of Parquet files with large row groups, by the size of these.

    python benchmarks/row_groups.py [--rows 1200] [--row-groups 1 4 12] [--page-rows 20]

A file holds clips of 5 s. Most row groups of up to 1024 rows have one page. Each work unit is computed as by a worker
that has read nothing before. Another revision is measured with `PYTHONPATH=CHECKOUT python benchmarks/row_groups.py`.
"""

import argparse
import io
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from rich.console import Console

from pipelines.build.build import build
from pipelines.config.build import check_config
from pipelines.engine.isolation import Computation
from pipelines.engine.pools.decoded import Decoded
from pipelines.engine.step import Step, WorkUnit
from pipelines.readers import parquet_audio

RATE = 16_000
CACHED_BYTES = 1 << 20
"""Audio that a worker holds, so much smaller than in a build as the row groups are smaller than those of a corpus."""


class CountedFile(io.FileIO):
    """A file that counts the bytes that are read."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io.FileIO.read`."""
        data = super().read(size)
        CountedFile.read_bytes += len(data)
        return data


class Reading:
    """Makes the reader of Parquet count what it reads, by step, and forget what it holds before each work unit."""

    def __init__(self) -> None:
        self.work_units: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._usual = (pq.ParquetFile, Computation.__call__, parquet_audio.MAX_CACHED_BYTES)

    def __enter__(self) -> "Reading":
        opened: Any = self._usual[0]
        compute = self._usual[1]
        reading = self

        def counted(path: Any, **options: Any) -> Any:
            if not isinstance(path, str):  # a table of the store
                return opened(path, **options)
            return opened(pa.PythonFile(CountedFile(path), mode="r"), **(options | {"buffer_size": 1 << 16}))

        def computed(self: Computation, work_unit: WorkUnit[Any], decoded: Decoded | None = None) -> Any:
            parquet_audio._cursors.clear()  # pyright: ignore[reportPrivateUsage]
            before = CountedFile.read_bytes
            made = compute(self, work_unit, decoded)
            step: Step[Any] = self._step  # pyright: ignore[reportPrivateUsage]
            reading.work_units[step.name] += 1
            reading.bytes[step.name] += CountedFile.read_bytes - before
            return made

        parquet_audio.pq.ParquetFile = counted
        Computation.__call__ = computed
        parquet_audio.MAX_CACHED_BYTES = CACHED_BYTES
        return self

    def __exit__(self, *_: object) -> None:
        parquet_audio.pq.ParquetFile, Computation.__call__, parquet_audio.MAX_CACHED_BYTES = self._usual


def clip(number: int) -> bytes:
    """Five seconds of sound, each clip another."""
    file = io.BytesIO()
    samples = np.random.default_rng(number).standard_normal(5 * RATE).astype(np.float32) / 20
    soundfile.write(file, samples, RATE, format="FLAC")
    return file.getvalue()


def bytes_read(folder: Path, rows: int, row_groups: int, page_rows: int) -> dict[str, tuple[int, float]]:
    """Work units of each step of a build, and the bytes that they read for each byte of the file.

    Args:
        folder: where file and store are written.
        rows: clips in the file.
        row_groups: row groups in the file.
        page_rows: rows in a page.
    """
    path = folder / "train.parquet"
    audio = [{"bytes": clip(number), "path": f"{number}.flac"} for number in range(rows)]
    table = pa.table({"audio": audio, "text": ["a b c"] * rows})
    pq.write_table(table, path, row_group_size=rows // row_groups, write_batch_size=page_rows, data_page_size=1)
    values = {
        "store": str(folder / "store"),
        "sources": [{"kind": "hf_parquet", "path": str(path), "dataset": "d"}],
        "quantizer": {"k": 20, "iterations": 2, "sample_hours": 0.02},
        "unit_language": {"vocab_size": 30},
        "work_units": {"minutes": 2.5, "items": 50},
        "run": {"ray_above_seconds": 1e9},
    }
    with Reading() as reading:
        build(check_config(values, "benchmark", folder), Console(quiet=True))
    steps = ("ingest", "quantize", "shard")
    return {step: (reading.work_units[step], reading.bytes[step] / path.stat().st_size) for step in steps}


def print_table(rows: int, row_groups: Sequence[int], page_rows: int) -> None:
    """Print a table for files with these numbers of row groups."""
    print("| row groups | step | work units | bytes read / bytes of the file |\n|---|---|---|---|")
    for count in row_groups:
        with tempfile.TemporaryDirectory() as folder:
            for step, (units, ratio) in bytes_read(Path(folder), rows, count, page_rows).items():
                print(f"| {count} | {step} | {units} | {ratio:.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1200)
    parser.add_argument("--row-groups", type=int, nargs="+", default=[1, 4, 12])
    parser.add_argument("--page-rows", type=int, default=20)
    options = parser.parse_args()
    print_table(options.rows, options.row_groups, options.page_rows)


if __name__ == "__main__":
    main()
