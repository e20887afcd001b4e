"""Readers of training: bytes, requests, time to the first batch, size of the state, by number of workers.

    python benchmarks/readers.py [--shards 64] [--audio-bytes 4000] [--delay 0.05] [--workers 1 8 64]

A table of small examples is written to a disk and to an S3 server (moto) in this process, behind a proxy that answers
late. The workers of a run are simulated one after another. Each opens the corpus twice and looks up the held-out rows
twice, as `echox train` does, and reads its share of one epoch, in which its buffers fill, and of two more, of which the
table shows the mean. Then it saves its state, with which another reader goes on, and reads its share of a validation.
Seconds to a first batch are those of the first worker; bytes, requests and CPU seconds are those of all together. The
second table is of starts alone, with receipts that say what is in the files, and with those of older programs.
"""

import argparse
import logging
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import obstore
from moto.server import ThreadedMotoServer
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))  # for the helpers of the tests

from echox.data import corpus as corpora
from echox.data.config import DataConfig
from echox.data.corpus import Corpus, Holdout, hold_out
from echox.data.pipeline import Source, TrainingBatches
from echox.data.worker import Worker
from storage.approvals import check_trainable
from tests.cluster.proxy import flaky_proxy
from tests.echox.shelves import ROWS, sized_reading, write_shelves

CONFIG = DataConfig(max_tokens=512, max_length=64, threads=1)
SEED = 1
EPOCHS = 2
"""Epochs that are measured, after one that fills the buffers."""
WORK_UNITS_OF_A_SHARD = 8
"""Half hours in a shard of four hours."""
LARGE = 12_841
"""Work units of 6,000 hours."""


class Traffic:
    """Counts requests to stores, and the bytes that they bring."""

    def __init__(self) -> None:
        self.requests = self.bytes = 0
        for kind in ("get", "head", "get_range", "list"):
            setattr(obstore, kind, self._counted(getattr(obstore, kind)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.requests += 1
            self.bytes += options.get("length", 0)
            return call(*arguments, **options)

        return counted

    @contextmanager
    def since(self) -> Generator["Traffic"]:
        """Count from here on."""
        self.requests = self.bytes = 0
        yield self


@dataclass(frozen=True)
class Setup:
    """Subject of a measurement: a store, the bytes of a row's audio, and batches of all workers in an epoch."""

    uri: str
    audio_bytes: int
    batches: int


def start(uri: str, audio_bytes: int, worker: Worker) -> Source[Any]:
    """Open a corpus, as a worker of `echox train` does."""
    corpora._read.clear()  # pyright: ignore[reportPrivateUsage] - as another process
    _opened(uri)
    corpus, holdout = _opened(uri)
    return Source(corpus, sized_reading(audio_bytes), holdout, CONFIG, worker)


def _opened(uri: str) -> tuple[Corpus, Holdout]:
    corpus = Corpus.open(uri)
    check_trainable(corpus.store, corpus.version)
    return corpus, hold_out(corpus, "s2t", 0.05)


@dataclass
class Share:
    """Reads of one worker.

    Attributes:
        first: seconds and requests until its first batch.
        bytes, requests, cpu: of an epoch under way, in the mean of `EPOCHS`.
        state: its state at the end.
        validation: bytes of its share of a validation.
    """

    first: str
    bytes: float
    requests: float
    cpu: float
    state: dict[str, object]
    validation: int


def share(setup: Setup, traffic: Traffic, worker: Worker) -> Share:
    """Read a worker's share of the first epoch, which fills its buffers, and of the next ones."""
    source, batches, first = first_batch(setup, traffic, worker)
    own = setup.batches // worker.workers
    read(batches, own - 1)
    cpu = time.process_time()
    with traffic.since():
        read(batches, EPOCHS * own)
    used = time.process_time() - cpu
    batches.close()
    epoch_bytes, requests = traffic.bytes / EPOCHS, traffic.requests / EPOCHS
    with traffic.since():
        for _ in source.validation():
            pass
    return Share(first, epoch_bytes, requests, used / EPOCHS, batches.state_dict(), traffic.bytes)


def first_batch(
    setup: Setup, traffic: Traffic, worker: Worker, state: dict[str, object] | None = None
) -> tuple[Source[Any], TrainingBatches[Any], str]:
    """Start, or resume, and read one batch; return the source, what gives the next batches, and what that took."""
    with traffic.since():
        began = time.perf_counter()
        source = start(setup.uri, setup.audio_bytes, worker)
        batches = source.training(SEED)
        if state is not None:
            batches.load_state_dict(state)
        next(batches)
        return source, batches, f"{time.perf_counter() - began:.1f} s, {traffic.requests}"


def read(batches: TrainingBatches[Any], count: int) -> None:
    """Read so many batches."""
    for _ in islice(batches, count):
        pass


def epoch(setup: Setup, traffic: Traffic, workers: int) -> list[str]:
    """Read with so many workers; one line of the table."""
    whole = sum(file.bytes for file in Corpus.open(setup.uri).version.files("s2t"))
    shares = [share(setup, traffic, Worker(rank, workers)) for rank in range(workers)]
    _, resumed, took = first_batch(setup, traffic, Worker(0, workers), shares[0].state)
    resumed.close()
    return [
        str(workers),
        shares[0].first,
        f"{sum(one.bytes for one in shares) / whole:.2f}",
        f"{sum(one.requests for one in shares):,.0f}",
        f"{max(len(pickle.dumps(one.state)) for one in shares) / 1e3:,.1f}",
        took,
        f"{sum(one.cpu for one in shares):.1f}",
        f"{sum(one.validation for one in shares) / whole:.2f}",
    ]


def batches_of_an_epoch(setup: Setup) -> int:
    """Number of batches with which all rows of an epoch are used, but for those that wait."""
    batches = start(setup.uri, setup.audio_bytes, Worker()).training(SEED)
    rows = sum(group.counts.train for group in Corpus.open(setup.uri).row_groups("s2t")) * 0.95
    count = 0
    while rows > batches.skipped:
        rows -= next(batches).num_examples
        count += 1
    batches.close()
    return count


def starts(place: str, shards: int, traffic: Traffic, *, stated: bool) -> list[str]:
    """Start once on so many shards; one line of the table."""
    uri = f"{place}/starts-{shards}-{stated}"
    write_shelves(uri, shards, 4 * ROWS, audio_bytes=400, stated=stated)
    with traffic.since():
        began = time.perf_counter()
        batches = start(uri, 400, Worker()).training(SEED)
        next(batches)
        seconds = time.perf_counter() - began
        requests = traffic.requests
    batches.close()
    kind = "say it" if stated else "of older programs"
    return [kind, f"{shards:,}", f"{requests:,}", f"{seconds:.1f}"]


@contextmanager
def bucket(delay: float) -> Generator[str]:
    """URL of a bucket whose server answers so many seconds late."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would show each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/corpora", method="PUT")).close()
    with flaky_proxy(f"http://{host}:{port}") as proxy:
        proxy.delay = delay
        names = {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "REGION": "us-east-1", "ALLOW_HTTP": "true"}
        os.environ |= {f"AWS_{name}": value for name, value in {**names, "ENDPOINT_URL": proxy.url}.items()}
        yield "s3://corpora"
    server.stop()


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--audio-bytes", type=int, default=4000)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--starts", type=int, nargs="+", default=[100, 200])
    options = parser.parse_args()
    traffic, console = Traffic(), Console(width=160)
    late = f"S3, {options.delay * 1000:.0f} ms late"
    with tempfile.TemporaryDirectory() as scratch, bucket(options.delay) as s3:
        columns = ("first batch, requests", "bytes / table", "requests", "state, kB", "resumed, requests", "CPU s")
        epochs = Table("place", "workers", *columns, "validation / table", title=f"{options.shards} shards")
        for place, uri in (("disk", f"{scratch}/store"), (late, f"{s3}/store")):
            write_shelves(uri, options.shards, 4 * ROWS, audio_bytes=options.audio_bytes)
            setup = Setup(uri, options.audio_bytes, 0)
            setup = Setup(uri, options.audio_bytes, batches_of_an_epoch(setup))
            for workers in options.workers:
                epochs.add_row(place, *epoch(setup, traffic, workers))
        console.print(epochs)
        begun = Table("receipts", "shards", "requests", "seconds to the first batch", title=f"Starts, {late}")
        for stated in (True, False):
            for shards in options.starts:
                begun.add_row(*starts(s3, shards, traffic, stated=stated))
        console.print(begun)
        console.print(f"6,000 hours are {LARGE // WORK_UNITS_OF_A_SHARD:,} shards of 4 hours.")


if __name__ == "__main__":
    main()
