"""Run `gc` beside builds, kill both at random moments, and check that the corpus is that of an undisturbed build.

    python benchmarks/gc_storm.py [--rounds 50] [--seed 0] [--at-once 1]

Each round starts from a store with one version and with the old, unreferenced work of a build that was given up. A
build of other words, one mended text and two new files goes on with that work. Meanwhile `gc` runs again and again,
keeps one version, spares no young file, and is killed in every second run. The build is killed too, and started again.
In every second round, marks count only for two seconds and are not kept fresh, as if all programs slept: then `gc`
removes what the build reuses, which must not commit a version that lacks anything. At the end the build and `gc` run
undisturbed. Every version must then verify, the store must have the same files as the one of an undisturbed build, and
a further build must find nothing to do.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.build.build import build, run_until  # noqa: E402
from pipelines.build.collect import collect, to_expire  # noqa: E402
from pipelines.build.verify import verify  # noqa: E402
from pipelines.config.build import BuildConfig, check_config  # noqa: E402
from pipelines.sources.digests import read_digests  # noqa: E402
from storage.collecting import marks  # noqa: E402
from storage.errors import StorageError  # noqa: E402
from storage.lists.files import list_path  # noqa: E402
from storage.store import Store  # noqa: E402
from storage.versions import Version, load, version_numbers  # noqa: E402
from tests.speech import write_speech  # noqa: E402

CLIPS = 10
DAYS = 2
TRIES = 3
"""Disturbed builds of a round."""
PAUSE_SECONDS = 0.6
"""Longest pause between two runs of `gc`."""
SHORT = timedelta(seconds=2)
REFUSED = 2
Values = dict[str, Any]
SPAWN = multiprocessing.get_context("forkserver")


@dataclass
class Outcome:
    """Course and result of a round.

    Attributes:
        builds: ends of the disturbed builds: done, refused, killed, or an exit code.
        collections: ends of the disturbed runs of `gc`.
        faults: what is wrong at the end.
    """

    builds: Counter[str] = field(default_factory=Counter[str])
    collections: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Range:
    """Stores of one corpus to disturb, beside an undisturbed one.

    Attributes:
        folder: holds all stores.
        values: config of the build that is disturbed; its store is left out.
        seconds: time that it takes.
    """

    folder: Path
    values: Values
    seconds: float

    def round(self, name: str) -> Outcome:
        """Disturb one build until it is done; name and seed of the round are the same."""
        chance, outcome, asleep = random.Random(name), Outcome(), name.endswith("asleep")
        store = Path(shutil.copytree(self.folder / "given-up", self.folder / name))
        arguments = {**self.values, "store": str(store)}, asleep
        for _ in range(TRIES):
            end = self._disturbed(arguments, chance, outcome.collections)
            outcome.builds[end] += 1
            if end == "done":
                break
        outcome.faults += [end for end in (*outcome.builds, *outcome.collections) if end.startswith("code")]
        outcome.faults += self._at_the_end(store)
        shutil.rmtree(store)
        return outcome

    def _disturbed(self, arguments: tuple[Values, bool], chance: random.Random, ends: Counter[str]) -> str:
        """Run a build, and `gc` beside it until it has ended; return its end."""
        process = SPAWN.Process(target=build_once, args=arguments)
        process.start()
        dies = time.monotonic() + (chance.uniform(0, 1.5 * self.seconds) if chance.random() < 0.6 else 1000)
        while process.is_alive():
            time.sleep(chance.uniform(0, PAUSE_SECONDS))
            collector = SPAWN.Process(target=collect_once, args=arguments)
            collector.start()
            collector.join(chance.uniform(0, 0.5) if chance.random() < 0.5 else None)
            ends[ended(collector)] += 1
            if time.monotonic() > dies:
                return ended(process)
        return ended(process)

    def _at_the_end(self, store: Path) -> list[str]:
        config = configured({**self.values, "store": str(store)})
        shutil.rmtree(store / marks.FOLDER, ignore_errors=True)  # as if the leases of the programs asleep had ended
        try:
            build(config, Console(quiet=True))
            collected(store)
            faults = [f"{number}: {fault}" for number in numbers(store) for fault in problems(store, number)]
            faults += differences(store, self.folder / "undisturbed")
            more = build(config, Console(quiet=True)).new
            return [*faults, "a further build has something to do"] if more else faults
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]


def ended(process: BaseProcess) -> str:
    """Kill a process unless it has ended; return how it ended."""
    process.join(0)
    if process.is_alive():
        process.kill()
        process.join()
    known = {0: "done", REFUSED: "refused", -signal.SIGKILL: "killed"}
    return known.get(process.exitcode or 0, f"code {process.exitcode}")


def configured(values: Values) -> BuildConfig:
    """The config of values."""
    return check_config(values, "storm", Path.cwd())


def build_once(values: Values, asleep: bool) -> None:
    """Build in a process of its own; its exit code is 2 after a `StorageError`."""
    guarded(asleep, lambda: build(configured(values), Console(quiet=True)))


def collect_once(values: Values, asleep: bool) -> None:
    """Run `gc` in a process of its own; its exit code is 2 after a `StorageError`."""
    guarded(asleep, lambda: collected(Path(values["store"])))


def collected(store: Path) -> None:
    """Keep one version and nothing young."""
    opened = Store.open(store)
    collect(opened, to_expire(opened, 1, None), grace_seconds=0)


def guarded(asleep: bool, work: Any) -> None:
    """Do the work; with `asleep`, marks count for a short time only and are not kept fresh."""
    if asleep:
        marks.REFRESH_SECONDS = 1000.0
        marks.LEASES |= {"work": SHORT, "gc": SHORT}
        marks._machine.cache_clear()  # pyright: ignore[reportPrivateUsage]
        marks._machine = str  # type: ignore[assignment] # pyright: ignore[reportPrivateUsage] - always unknown
    marks.POLL_SECONDS = 0.05
    try:
        work()
    except StorageError:
        sys.exit(REFUSED)


def numbers(store: Path) -> list[int]:
    """Numbers of the versions."""
    return version_numbers(Store.open(store))


def problems(store: Path, number: int) -> Iterator[str]:
    """Problems that `verify` finds in a version."""
    opened = Store.open(store)
    return verify(opened, load(opened, number))


def differences(store: Path, undisturbed: Path) -> list[str]:
    """How a store differs from another one: its versions, and the names of its files, which have checksums.

    The lists of digests hold ETags of this store's own files, so their rows are compared instead of their names.
    """
    one, other = Store.open(store), Store.open(undisturbed)
    if numbers(store) != numbers(undisturbed):
        return [f"versions {numbers(store)}"]
    pairs = [(load(one, number), load(other, number)) for number in numbers(store)]
    mine, theirs = zip(*pairs, strict=True)
    files = sorted(({*one.list()} - digest_lists(mine)) ^ ({*other.list()} - digest_lists(theirs)))
    same = all((a.steps, a.artifacts, a.statistics) == (b.steps, b.artifacts, b.statistics) for a, b in pairs)
    digests = all(digests_of(one, a) == digests_of(other, b) for a, b in pairs)
    return [*files, *([] if same else ["another version"]), *([] if digests else ["other digests of entries"])]


def digest_lists(versions: Iterable[Version]) -> set[str]:
    """Paths of the lists of digests of entries."""
    return {list_path(name) for version in versions if version.entries for name in version.entries.lists}


def digests_of(store: Store, version: Version) -> dict[str, str]:
    """Valid digests of the entries of each work unit."""
    return {name: digest.groups for name, digest in read_digests(store, version).items()}


def prepared(folder: Path) -> Range:
    """Make the store with one version and the work of a build that was given up, and an undisturbed one."""
    speech = write_speech(folder / "speech", CLIPS)
    first = {
        "sources": [{"kind": "folder", "path": str(speech), "dataset": "clips"}],
        "quantizer": {"k": 20, "iterations": 5},
        "unit_language": {"vocab_size": 60},
        "shards": {"hours": 0.005},
        "work_units": {"minutes": 0.04, "items": 3},
    }
    store = folder / "given-up"
    build(configured({**first, "store": str(store)}), Console(quiet=True))
    write_speech(speech, 2, start=CLIPS)
    (speech / "clip000.txt").write_text("mended")
    values = {**first, "unit_language": {"vocab_size": 50}}
    run_until(configured({**values, "store": str(store)}), Console(quiet=True), "encode")
    long_ago = time.time() - DAYS * 24 * 3600
    for path in store.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    whole = Path(shutil.copytree(store, folder / "undisturbed"))
    warm = SPAWN.Process(target=str)  # loads what all processes share
    warm.start()
    warm.join()
    began = time.monotonic()
    process = SPAWN.Process(target=build_once, args=({**values, "store": str(whole)}, False))
    process.start()
    process.join()
    seconds = time.monotonic() - began
    collected(whole)
    return Range(folder, values, seconds)


def preload() -> None:
    """Let the fork server of this process load what builds need once.

    Each round has a process of its own, because threads that start processes take each other's exit codes.
    """
    SPAWN.set_forkserver_preload(["pipelines.build.build", "pipelines.build.collect", "pipelines.steps.quantize"])


def main() -> None:
    """Run the rounds and print the table; the exit code is 1 if one did not end well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=1, help="rounds side by side")
    options = parser.parse_args()
    preload()
    names = [f"{options.seed}-{n}-{'asleep' if n % 2 else 'awake'}" for n in range(options.rounds)]
    outcomes: dict[str, Outcome] = {}
    rounds = ProcessPoolExecutor(options.at_once, multiprocessing.get_context("spawn"), preload)
    with tempfile.TemporaryDirectory(prefix="gc-storm-") as name, rounds:
        place = prepared(Path(name))
        print(f"an undisturbed build takes {place.seconds:.1f} s", flush=True)
        for name, outcome in zip(names, rounds.map(place.round, names), strict=True):
            outcomes[name] = outcome
            print(name, dict(outcome.builds), dict(outcome.collections), outcome.faults or "well", flush=True)
    Console().print(table(outcomes))
    sys.exit(any(outcome.faults for outcome in outcomes.values()))


def table(outcomes: Mapping[str, Outcome]) -> Table:
    """Sums by kind of round."""
    shown = Table("programs", "rounds", "builds", "runs of gc", "rounds with faults")
    for kind in ("awake", "asleep"):
        found = [outcome for name, outcome in outcomes.items() if name.endswith(kind)]
        builds = sum((outcome.builds for outcome in found), Counter[str]())
        collections = sum((outcome.collections for outcome in found), Counter[str]())
        faults = sum(bool(outcome.faults) for outcome in found)
        shown.add_row(kind, str(len(found)), told(builds), told(collections), str(faults))
    return shown


def told(ends: Counter[str]) -> str:
    """`12 done, 3 killed`."""
    return ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))


if __name__ == "__main__":
    main()
