"""Strike builds at random moments; check that the same command then makes the corpus of an undisturbed build.

    python benchmarks/storm.py [--in-process 20] [--ray 5] [--interrupt 5] [--bucket 0] [--seed 0] [--at-once 2]
                               [--minutes 60] [--reset 0.03]

A round starts `echox build` of generated speech, sends a signal at a random moment, waits for the end, and runs the
same command again. Every file must then have the bytes of an undisturbed build, `verify` must find nothing, and no
process may be left behind. `--in-process` and `--ray` send SIGKILL: to the build's own process, on Ray also to a worker
or to the raylet. `--interrupt` sends SIGINT to builds on Ray, as Ctrl-C does or to the build's process alone; those
must also end with the exit code 130, and run again without Ray. `--bucket` kills builds in process whose stores are in
a bucket, of a server (moto) behind a proxy that resets the connection of a share of the requests, half of them after
the server did what they ask, in both runs of a round. With `--minutes`, no round begins later.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.cluster.proxy import flaky_proxy  # noqa: E402
from tests.speech import write_speech  # noqa: E402
from tests.storms import STAGES, Blow, Outcome, Range, blow  # noqa: E402

CLIPS = 12
VALUES = {
    "quantizer": {"k": 20, "iterations": 5},
    "unit_language": {"vocab_size": 60},
    "shards": {"hours": 0.005},
    "work_units": {"minutes": 0.04, "items": 3},
    "run": {"workers": 2},
}
KINDS = {
    "in_process": (False, signal.SIGKILL),
    "ray": (True, signal.SIGKILL),
    "interrupt": (True, signal.SIGINT),
    "bucket": (False, signal.SIGKILL),
}
Places = Mapping[str, Range]
"""Where the builds of each kind are."""


def main() -> None:
    """Run the rounds and print the table; the exit code is 1 if a round did not end well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-process", type=int, default=20)
    parser.add_argument("--ray", type=int, default=5)
    parser.add_argument("--interrupt", type=int, default=5)
    parser.add_argument("--bucket", type=int, default=0)
    parser.add_argument("--reset", type=float, default=0.03, help="share of the bucket's requests that are reset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=2, help="builds side by side")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no round after this time")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells make background commands ignore Ctrl-C
    with tempfile.TemporaryDirectory(prefix="storm-") as name, ExitStack() as stack:
        folder = Path(name)
        speech = write_speech(folder / "speech", CLIPS)
        source = {"kind": "folder", "path": str(speech), "dataset": "clips"}
        values = {**VALUES, "sources": [source]}
        kinds = [kind for kind in KINDS if vars(options)[kind]]
        here = Range(folder, values) if {*kinds} - {"bucket"} else None
        places = dict.fromkeys(kinds, here)
        if options.bucket:
            places["bucket"] = stack.enter_context(in_bucket(folder / "bucket", values, options.reset))
        found = {kind: place for kind, place in places.items() if place}
        outcomes = list(suffered(found, dict(planned(found, options)), options))
    Console().print(table(outcomes))
    sys.exit(not all(outcome.well for _, outcome in outcomes))


@contextmanager
def in_bucket(folder: Path, values: Mapping[str, Any], reset: float) -> Generator[Range]:
    """A place in a bucket, whose undisturbed build no connection disturbs either."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    folder.mkdir()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with flaky_proxy(f"http://{host}:{port}") as proxy:
        os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        os.environ |= {"AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", "AWS_ENDPOINT_URL": proxy.url}
        boto3.client("s3").create_bucket(Bucket="corpora")
        place = Range(folder, values, "s3://corpora/storm")
        proxy.reset = reset
        yield place
        print(f"{proxy.resets} connections to the bucket were reset")
    server.stop()


def planned(places: Places, options: argparse.Namespace) -> Iterator[tuple[str, Blow]]:
    """Name and blow of each round, in a mixed order, so that a storm that is stopped early has tried all kinds."""
    kinds = {(place, KINDS[kind][0]) for kind, place in places.items()}
    seconds = {(place, ray): place.seconds(ray=ray, at_once=options.at_once) for place, ray in kinds}
    names = [(number / vars(options)[kind], kind, number) for kind in KINDS for number in range(vars(options)[kind])]
    for _, kind, number in sorted(names):
        ray, sent = KINDS[kind]
        name = f"{kind}-{options.seed}-{number}"
        yield name, blow(name, ray=ray, number=sent, seconds=seconds[places[kind], ray])


def suffered(places: Places, rounds: dict[str, Blow], options: argparse.Namespace) -> Iterator[tuple[str, Outcome]]:
    """Kind and outcome of each round, as they end; a line tells each."""
    began = time.monotonic()

    def suffer(name: str) -> Outcome | None:
        late = time.monotonic() - began > options.minutes * 60
        return None if late else places[name.partition("-")[0]].suffer(name, rounds[name])

    with ThreadPoolExecutor(options.at_once) as threads:
        tried = {threads.submit(suffer, name): name for name in rounds}
        for done, future in enumerate(as_completed(tried), 1):
            if (outcome := future.result()) is None:
                continue
            passed = (time.monotonic() - began) / 60
            left = min(passed / done * (len(rounds) - done), options.minutes - passed)
            print(f"{done}/{len(rounds)}, {left:.0f} min left: {tried[future]}: {told(outcome)}", flush=True)
            yield tried[future].partition("-")[0], outcome


def told(outcome: Outcome) -> str:
    """One line for people."""
    one = outcome.blow
    verdict = "well" if outcome.well else f"NOT WELL: {[*outcome.left, *outcome.faults]}"
    return f"{one.number.name} to {one.victim} at {one.seconds:.2f} s ({outcome.reached}): {outcome.code}: {verdict}"


def table(outcomes: Iterable[tuple[str, Outcome]]) -> Table:
    """Outcomes by kind and by the step that was reached."""
    groups = defaultdict[tuple[str, str], list[Outcome]](list)
    for kind, outcome in outcomes:
        groups[kind, outcome.reached].append(outcome)
    shown = Table("builds", "last receipt", "rounds", "exit codes", "other corpus", "processes left")
    for kind in KINDS:
        for step in ("start", *STAGES, "end"):
            if found := groups[kind, step]:
                codes = ", ".join(f"{code}: {times}" for code, times in sorted(Counter(o.code for o in found).items()))
                wrong = [sum(bool(o.faults) for o in found), sum(bool(o.left) for o in found)]
                shown.add_row(kind, step, str(len(found)), codes, *map(str, wrong))
    return shown


if __name__ == "__main__":
    main()
