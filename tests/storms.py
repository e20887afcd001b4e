"""Builds that are struck by signals, and whether the corpus is that of an undisturbed build once they are run again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import psutil

from pipelines.build.verify import verify
from storage.errors import StorageError
from storage.store import Store
from storage.versions import Version, resolve

Victim = Literal["driver", "group", "worker", "raylet"]
"""Who is struck; `group` is the driver and all processes of its group, as Ctrl-C in a terminal does."""
CLI = [sys.executable, "-c", "from flows.cli import main; main()"]
SECONDS_TO_END = 900
SECONDS_TO_GO = 120
"""Processes of a Ray whose driver was killed end within this time: an agent first tries for a minute to tell the GCS,
which is gone as well."""
BUSY = "The current node timed out during startup"
"""Ray gives up starting on a machine that is busy for half a minute; the build is then run once more."""
MARK = "ECHOX_STORM"
"""Environment variable by which all processes of one build are found."""
STAGES = ("ingest", "sample_features", "quantize", "encode", "shard")
"""Computations with receipts, in the order of a build."""
ENDS = {signal.SIGINT: (130, -signal.SIGINT), signal.SIGTERM: (143, -signal.SIGTERM)}
"""Exit codes of an interrupted command. A shell shows both in the same way; the second is Python's at its start."""


def start(config: Path, *changes: str, ray: bool, mark: str = "", log: Path | None = None) -> psutil.Popen:
    """Start `echox build` in a process group of its own.

    Args:
        config: the config file.
        changes: values of `--set`.
        ray: run every step on a local Ray, else none.
        mark: value of the variable `MARK`.
        log: receives what the command prints.
    """
    settings = [*changes, f"run.ray_above_seconds={0 if ray else 1000}"]
    command = [*CLI, "build", str(config), *(part for value in settings for part in ("--set", value))]
    with Path(log or os.devnull).open("ab") as out:
        environment = {**os.environ, MARK: mark}
        return psutil.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, process_group=0)


def running(process: psutil.Process) -> bool:
    """Return whether a process has not ended yet."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def strike(driver: psutil.Process, victim: Victim, number: signal.Signals) -> bool:
    """Send a signal to the victim; return whether there is one.

    A worker that computes work units goes first; any other Ray worker will do.
    """
    if victim == "driver":
        driver.send_signal(number)
        return True
    if victim == "group":
        os.killpg(driver.pid, number)
        return True
    children = driver.children(recursive=True)
    if victim == "raylet":
        found = [child for child in children if child.name() == "raylet"]
    else:
        workers = [child for child in children if child.is_running() and "ray::" in " ".join(child.cmdline())]
        found = sorted(workers, key=lambda child: "Worker" not in " ".join(child.cmdline()))
    for child in found[:1]:
        child.send_signal(number)
    return bool(found)


def tables(uri: str | Path) -> dict[str, bytes]:
    """Every file that the corpus consists of, and nothing else."""
    store = Store.open(uri)
    return {path: store.get(path) for folder in ("data", "training", "artifacts") for path in store.list(folder)}


def only_version(uri: str | Path) -> Version:
    """The one version of a store.

    Raises:
        AssertionError: there are others.
    """
    store, version = resolve(uri)
    assert [*store.list("manifests")] == ["manifests/00000001.json"], "more than one version"
    return version


def faults(store: str | Path, undisturbed: str | Path) -> list[str]:
    """Differences between a store and that of an undisturbed build, and problems that `verify` finds."""
    found: list[str] = []
    files, expected = tables(store), tables(undisturbed)
    for name in sorted(files.keys() | expected.keys()):
        if files.get(name) != expected.get(name):
            found.append(f"{name}: {'missing' if name not in files else 'other bytes' if name in expected else 'new'}")
    version, whole = only_version(store), only_version(undisturbed)
    if (version.steps, version.statistics) != (whole.steps, whole.statistics):
        found.append("another version")
    return [*found, *(str(problem) for problem in verify(resolve(store)[0], version))]


def reached(uri: str) -> str:
    """The last step of which a store holds a receipt; `start` before the first, `end` after the commit."""
    try:
        store = Store.open(uri)
    except StorageError:  # there is none yet
        return "start"
    if any(store.list("manifests")):
        return "end"
    begun = [stage for stage in STAGES if any(store.list(f"data/receipts/{stage}"))]
    return begun[-1] if begun else "start"


def left_behind(mark: str, known: Iterable[psutil.Process], seconds: float) -> list[str]:
    """Names of the processes of a build that still run after some seconds.

    Args:
        mark: value of `MARK` for the build; some processes of Ray overwrite their environment.
        known: processes of the build that were seen while it ran.
        seconds: time that they have to end.
    """
    deadline = time.monotonic() + seconds
    while found := [process for process in {*known, *psutil.process_iter()} if _runs(process, mark, known)]:
        if time.monotonic() > deadline:
            return [process.name() for process in found]
        time.sleep(0.2)
    return []


def _runs(process: psutil.Process, mark: str, known: Iterable[psutil.Process]) -> bool:
    try:
        return running(process) and (process in known or process.environ().get(MARK) == mark)
    except psutil.Error:
        return False


@dataclass(frozen=True)
class Blow:
    """A signal to a build.

    Attributes:
        ray: every step runs on a local Ray, else none.
        number: the signal.
        victim: who is struck.
        seconds: time from the start of the command to the signal.
    """

    ray: bool
    number: signal.Signals
    victim: Victim
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Effect of a blow.

    Attributes:
        blow: the blow.
        reached: the last step of which the store held a receipt at that time.
        code: exit code of the struck build; negative = the signal that ended it.
        left: processes that it left behind.
        faults: what is wrong with the corpus after the command ran again.
    """

    blow: Blow
    reached: str
    code: int
    left: list[str]
    faults: list[str]

    @property
    def well(self) -> bool:
        """The corpus is as it should be, nothing is left behind, and the exit code of an interrupt is its own."""
        codes = ENDS.get(self.blow.number, (self.code,))
        ended = self.code in codes or (self.reached, self.code) == ("end", 0)
        return ended and not self.left and not self.faults


class Range:
    """Builds of one corpus to strike at, beside an undisturbed one.

    Args:
        folder: receives configs and logs.
        values: config of the build; its store is ignored.
        stores: folder or URL that receives the stores; None = `folder`.
    """

    def __init__(self, folder: Path, values: Mapping[str, Any], stores: str | None = None) -> None:
        self.folder = folder
        self._values = values
        self._stores = stores or str(folder)
        assert start(self._config("undisturbed"), ray=False).wait(SECONDS_TO_END) == 0
        self.undisturbed = self._store("undisturbed")

    def seconds(self, *, ray: bool, at_once: int = 1) -> float:
        """Seconds that a build takes while as many run side by side."""
        began = time.monotonic()
        builds = [start(self._config(f"measured-{ray}-{one}"), ray=ray) for one in range(at_once)]
        assert [build.wait(SECONDS_TO_END) for build in builds] == [0] * at_once
        return time.monotonic() - began

    def suffer(self, name: str, blow: Blow) -> Outcome:
        """Strike one build and run it again, after a kill with the same command, after an interrupt without Ray.

        Args:
            name: name of the store.
            blow: the signal.
        """
        store, mark = self._store(name), uuid4().hex
        config, log = self._config(name), self.folder / f"{name}.log"
        process = start(config, ray=blow.ray, mark=mark, log=log)
        with suppress(psutil.TimeoutExpired):
            process.wait(blow.seconds)
        if not running(process) and _was_busy(log):
            return self.suffer(name, blow)
        at, seen = reached(store), process.children(recursive=True) if running(process) else []
        struck = running(process) and _struck(process, blow)
        code = process.wait(SECONDS_TO_END)
        left = left_behind(mark, seen, SECONDS_TO_GO)
        found = self._after(store, config, log, ray=blow.ray and blow.number not in ENDS)
        return Outcome(blow, at if struck else "end", code, left, found)

    def _after(self, store: str, config: Path, log: Path, *, ray: bool) -> list[str]:
        while (code := start(config, ray=ray, log=log).wait(SECONDS_TO_END)) == 1 and _was_busy(log):
            pass
        if code != 0:
            return [f"the second run ends with {code}"]
        try:
            return faults(store, self.undisturbed)
        except (StorageError, AssertionError) as error:
            return [f"{type(error).__name__}: {error}"]

    def _store(self, name: str) -> str:
        return f"{self._stores}/{name}"

    def _config(self, name: str) -> Path:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({**self._values, "store": self._store(name)}))
        return path


def _struck(process: psutil.Process, blow: Blow) -> bool:
    """Strike; the driver where there is no such victim yet."""
    return strike(process, blow.victim, blow.number) or strike(process, "driver", blow.number)


def _was_busy(log: Path) -> bool:
    return BUSY in "".join(log.read_text().splitlines()[-3:])


def blow(name: str, *, ray: bool, number: signal.Signals, seconds: float) -> Blow:
    """A blow at a random moment of a build that takes some seconds; the same name gives the same share of them."""
    chance = random.Random(name)
    victims: list[Victim] = ["driver"]
    if number in ENDS:
        victims = ["driver", "group"]
    elif ray:
        victims = ["driver", "driver", "worker", "raylet"]
    return Blow(ray, number, chance.choice(victims), chance.uniform(0, seconds))
