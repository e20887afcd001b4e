"""Measure how the costs of a build grow with the corpus, on a disk and in a bucket whose requests take their time.

    PYTHONPATH=. python benchmarks/scale.py [--sizes 1500 15000] [--where disk bucket] [--delay 0.05] [--program FOLDER]

Builds corpora of so many utterances, adds 0.1 % in a night, and verifies the last version. The program is this one, but
that audio is neither decoded nor turned into features: a file states its number and length, and a registered extractor
makes features of the number. Utterances are short, so that there are as many in a work unit as usually.

The driver and its work units run in one process. A request of the driver takes `--delay` seconds longer than the
server (moto's) needs; one of a work unit does not, because workers share these. A request is `alone` if no other one
was in flight while it was: those are the serial ones. Memory is the peak of the process, with its libraries.

`--save FILE` keeps what was measured. `--table` measures nothing: it prints what 6,000 h and 60,000 h cost, as in
docs/scale.md, from scale_parts/measured.json, which `--save` made, and from rates that other benchmarks measured.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.scale_parts import clips
from benchmarks.scale_parts.costs import Cost, Run, read_runs, shown
from benchmarks.scale_parts.listing import Listing
from benchmarks.scale_parts.outlook import outlook
from tests.cluster.proxy import FlakyProxy, Handler

ROOT = Path(__file__).parents[1]
PARTS = Path(__file__).parent / "scale_parts"
MEASURED = PARTS / "measured.json"
"""Measurements that `--save` wrote, from which `--table` prints."""
PACKAGES = ("flows", "pipelines", "echox", "storage", "unitlang")
SPEECH = "speech"
"""Bucket of speech."""
USUAL = 14.4
"""Seconds of an utterance of the corpus of 6,000 h and 1.5 million utterances that this stands for."""
Key = tuple[str, str]
"""Step and role."""


class Counts:
    """Requests by step and role, those among them that were alone, and those that S3 counts as dear; and bytes."""

    def __init__(self) -> None:
        self.requests: Counter[Key] = Counter()
        self.alone: Counter[Key] = Counter()
        self.dear: Counter[Key] = Counter()
        self.bytes: Counter[Key] = Counter()


class SlowProxy(FlakyProxy):
    """Delays the requests of the driver, and counts all.

    Attributes:
        delay: seconds.
        counts: what was counted.
        turn: step and role at work now.
        speech: bucket of which it answers listings itself; the contents of the files are never asked for.
    """

    def __init__(self, upstream: str, delay: float) -> None:
        super().__init__(upstream)
        self.RequestHandlerClass = SlowHandler
        self.delay = delay
        self.counts = Counts()
        self.turn: Key = ("start", "driver")
        self.speech = Listing(SPEECH)
        self._flying: dict[int, bool] = {}
        self._guard = threading.Lock()

    @contextmanager
    def counted(self, number: int, *, dear: bool) -> Generator[None]:
        """Counts a request while the context lasts; dear are PUT, POST and listings."""
        with self._guard:
            turn = self.turn
            self.counts.requests[turn] += 1
            self.counts.dear[turn] += dear
            self._flying = dict.fromkeys(self._flying, False) | {number: not self._flying}
        try:
            yield
        finally:
            with self._guard:
                self.counts.alone[turn] += self._flying.pop(number)


class SlowHandler(Handler):
    """One connection of a client."""

    server: SlowProxy  # pyright: ignore[reportIncompatibleVariableOverride]

    def slowly(self) -> None:
        """Pass a request on after the delay, or take note of what the build does next."""
        listing = self.server.speech.answers(self.path) if self.command == "GET" else None
        if self.path.startswith("/turn/"):
            _, _, step, role = self.path.split("/")
            self.server.turn = (step, role)
            self.answer(200, {}, b"", 0)
            return
        turn = self.server.turn
        dear = self.command in ("PUT", "POST") or "list-type=2" in self.path
        with self.server.counted(id(self), dear=dear):
            if turn[1] == "driver":
                time.sleep(self.server.delay)
            if listing is None:
                self.pass_on()
            else:
                self.answer(200, {"Content-Type": "application/xml"}, listing, len(listing))
        self.server.counts.bytes[turn] += int(self.headers.get("Content-Length", 0))

    def answer(self, status: int, headers: Any, content: bytes, length: int) -> None:
        """Answer the client."""
        self.server.counts.bytes[self.server.turn] += len(content)
        super().answer(status, headers, content, length)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = slowly


class Bucket:
    """A bucket of speech, whose listings the proxy answers, and one of corpora, of a server behind it."""

    def __init__(self, delay: float) -> None:
        import logging

        import boto3
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.proxy = SlowProxy(f"http://{host}:{port}", delay)
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        os.environ |= {"AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", "AWS_ENDPOINT_URL": self.proxy.url}
        boto3.client("s3").create_bucket(Bucket="corpora")
        self.speech, self.store = f"s3://{SPEECH}/clips", "s3://corpora/store"

    def put(self, name: str, data: bytes) -> None:
        """Put a file of the speech."""
        self.proxy.speech.put(f"clips/{name}", data)


class Disk:
    """A folder of speech, and one of the corpus."""

    proxy = None

    def __init__(self, home: Path) -> None:
        self.speech, self.store = str(home / "clips"), str(home / "store")

    def put(self, name: str, data: bytes) -> None:
        """Write a file of the speech."""
        path = Path(self.speech) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def speak(place: Bucket | Disk, numbers: Sequence[int]) -> None:
    """Write clips with these numbers, each with its text."""
    for number in numbers:
        place.put(f"{clips.name_of(number)}.wav", clips.audio(number))
        place.put(f"{clips.name_of(number)}.txt", clips.text(number).encode())


def config(place: Bucket | Disk, size: int) -> dict[str, Any]:
    """The values of a build whose work units have as many utterances as those of the usual corpus."""
    short = clips.SECONDS / USUAL
    hours = size * clips.SECONDS / 3600
    return {
        "store": place.store,
        "sources": [{"kind": "folder", "path": place.speech, "dataset": "clips"}],
        "features": {"kind": "faked"},
        "quantizer": {"k": 20, "iterations": 2, "sample_hours": hours * 20 / 6000},
        "unit_language": {"vocab_size": 200, "sample_hours": hours * 500 / 6000},
        "work_units": {"minutes": 30 * short},
        "shards": {"hours": 4 * short},
        "run": {"workers": 1, "ray_above_seconds": 1e12},
    }


def run(program: Path, place: Bucket | Disk, values: dict[str, Any], what: str) -> Run:
    """Build or verify in a process of its own."""
    if place.proxy:
        place.proxy.counts = Counts()
    command = [sys.executable, PARTS / "build.py", json.dumps(values), what]
    control = [place.proxy.url] if place.proxy else []
    environment = {**os.environ, "PYTHONPATH": str(program), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *control], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    found = Run(told["first_work"])
    for row in told["rows"]:
        cost = found.steps.setdefault(row["step"], Cost())
        cost.mb = max(cost.mb, row["mb"])
        if row["role"] == "driver":
            cost.cpu += row["cpu"]
            cost.wall += row["wall"]
        else:
            cost.work_cpu += row["cpu"]
    counts = place.proxy.counts if place.proxy else Counts()
    for (step, role), count in counts.requests.items():
        cost = found.steps.setdefault(step, Cost())
        if role == "worker":
            cost.work_requests += count
            cost.work_dear += counts.dear[step, role]
        else:
            cost.requests += count
            cost.dear += counts.dear[step, role]
            cost.alone += counts.alone[step, role]
            cost.bytes += counts.bytes[step, role]
    return found


def measure(program: Path, where: str, size: int, delay: float) -> dict[str, Run]:
    """Costs of a first build, of a night with 0.1 % more, and of `verify`."""
    with tempfile.TemporaryDirectory() as home:
        place = Bucket(delay) if where == "bucket" else Disk(Path(home))
        speak(place, range(size))
        values = config(place, size)
        runs = {"first build": run(program, place, values, "build")}
        speak(place, range(size, size + max(1, size // 1000)))
        runs["night"] = run(program, place, values, "build")
        runs["verify"] = run(program, place, values, "verify")
        if isinstance(place, Bucket):
            place.proxy.shutdown()
            place.server.stop()
            from moto.s3.models import s3_backends

            s3_backends.reset()
        return runs


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_500, 15_000])
    parser.add_argument("--where", nargs="+", choices=["disk", "bucket"], default=["disk", "bucket"])
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--program", type=Path, default=ROOT, help="checkout whose program is measured")
    parser.add_argument("--save", type=Path, help="file that receives what was measured")
    parser.add_argument("--table", action="store_true", help="measure nothing: print the tables of docs/scale.md")
    options = parser.parse_args()
    if options.table:
        print("\n".join(outlook(read_runs(MEASURED))))
        return
    measured: dict[str, dict[int, dict[str, Run]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder)
        for package in PACKAGES:
            shutil.copytree(options.program / package, program / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PARTS / "faked.py", program / "unitlang" / "features")
        for where in options.where:
            measured[where] = {size: measure(program, where, size, options.delay) for size in options.sizes}
            print("\n".join(shown(where, measured[where])), flush=True)
    if options.save:
        kept = {
            where: {size: {what: asdict(run) for what, run in runs.items()} for size, runs in sizes.items()}
            for where, sizes in measured.items()
        }
        options.save.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
