"""Measure what the mark of a work unit costs, by which a build knows how many processes died at it.

    python benchmarks/marks.py [--work-units 200]

Before a work unit is computed, its mark is looked for and written; afterwards it is removed. The work units here do
nothing else. The S3 server is moto's, in this process, so each request also takes what moto computes for it. Times are
wall milliseconds for each work unit, one after the other, as a worker does it.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer
from rich.console import Console
from rich.table import Table

from pipelines.engine.crashes import deaths, marked
from pipelines.engine.step import Process, Step
from pipelines.records import RowsPayload
from storage.store import Store


@dataclass(frozen=True)
class Nothing(Step[RowsPayload]):
    """A step whose work units are only marked."""

    name: ClassVar[str] = "nothing"
    revision: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ()

    def open(self, store: Store) -> Process[RowsPayload]:
        """See `Step.open`; nothing opens this step."""
        raise NotImplementedError


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-units", type=int, default=200)
    count = parser.parse_args().work_units
    table = Table("store", "ms a work unit, median", "95th percentile")
    with tempfile.TemporaryDirectory() as folder:
        table.add_row("local disk", *shown(Store.open(Path(folder) / "store", create=True), count))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    table.add_row("S3 (moto)", *shown(Store.open(bucket(*server.get_host_and_port()), create=True), count))
    server.stop()
    Console().print(table)


def bucket(host: str, port: int) -> str:
    """Make a bucket on the server; return its URI, which the environment leads to."""
    url = f"http://{host}:{port}"
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    os.environ |= {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}
    urlopen(Request(f"{url}/corpora", method="PUT")).close()  # noqa: S310 - this server
    return "s3://corpora/store"


def shown(store: Store, count: int) -> tuple[str, str]:
    """Median and 95th percentile of `milliseconds`."""
    found = list(milliseconds(store, count))
    return f"{statistics.median(found):.1f}", f"{statistics.quantiles(found, n=20)[-1]:.1f}"


def milliseconds(store: Store, count: int) -> Iterator[float]:
    """Wall time of the mark of each of some work units."""
    step = Nothing()
    for number in range(count):
        work_unit = step.work_unit(number, RowsPayload(), 1.0)
        began = time.perf_counter()
        with marked(store, step, work_unit, deaths(store, step, work_unit)):
            pass
        yield 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
