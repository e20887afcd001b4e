"""Count the requests of a night, by kind: files of the store that a build reads, writes and asks for.

    python benchmarks/night_requests.py [--work-units 2000]

The corpus has one clip of half a second in each work unit. A night without news and a night with one new clip are
counted; a listing counts as a request for each 1,000 files, as in a bucket. Another revision is measured with
`PYTHONPATH=CHECKOUT python benchmarks/night_requests.py`.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import soundfile
from rich.console import Console

import storage.store
from pipelines.build.build import build
from pipelines.config.build import check_config

PAGE = 1000
"""Files of one request of a listing."""


class Requests:
    """Counts requests to the store of this process by kind and folder."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        for kind in ("get", "head", "get_range", "get_ranges", "delete"):
            setattr(obstore, kind, self._counted(kind, getattr(obstore, kind)))
        storage.store.write_file = self._counted("put", storage.store.write_file)
        self._list = obstore.list
        obstore.list = self._listed  # pyright: ignore[reportAttributeAccessIssue] - counts its pages

    def _counted(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.counts[kind] += 1
            return call(*arguments, **options)

        return counted

    def _listed(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        files = 0
        for page in self._list(*arguments, **options):
            files += len(page)
            yield page
        self.counts["list"] += files // PAGE + 1

    def since(self) -> str:
        """Requests since the last call."""
        found, self.counts = self.counts, Counter()
        return f"{found.total():,} ({', '.join(f'{count:,} {kind}' for kind, count in found.most_common())})"


def clip(folder: Path, number: int) -> None:
    """Write half a second of noise."""
    noise = np.random.default_rng(number).standard_normal(8000).astype(np.float32) / 10
    soundfile.write(folder / f"{number:06d}.wav", noise, 16_000)


def main() -> None:
    """Build a corpus of so many work units, and count the requests of the nights after it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work-units", type=int, default=2000)
    options = parser.parse_args()
    requests = Requests()
    with tempfile.TemporaryDirectory() as scratch:
        clips = Path(scratch) / "clips"
        clips.mkdir()
        for number in range(options.work_units):
            clip(clips, number)
        values = {
            "store": f"{scratch}/store",
            "sources": [{"kind": "folder", "path": str(clips), "dataset": "clips"}],
            "quantizer": {"k": 20, "iterations": 2},
            "unit_language": {"vocab_size": 60},
            "work_units": {"minutes": 0.001, "items": 1},
            "run": {"workers": 1},
        }
        for night in ("first build", "night without news", "night with one new clip", "next night without news"):
            if night == "night with one new clip":
                clip(clips, options.work_units)
            requests.since()
            build(check_config(values, "benchmark", Path.cwd()), Console(quiet=True))
            print(f"{night}: {requests.since()}", flush=True)


if __name__ == "__main__":
    main()
