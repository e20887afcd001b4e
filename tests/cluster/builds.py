"""Builds on the site: start one, wait for it, compare what it made."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from storage.errors import StorageError
from storage.store import Store
from storage.versions import resolve
from tests.cluster.servers import wait_for

CLI = [sys.executable, "-c", "from flows.cli import main; main()"]
BUILD_SECONDS = 240.0

Config = dict[str, Any]
Files = dict[str, bytes]


@dataclass(frozen=True)
class Running:
    """`echox build` in a process of its own, which writes into a file: a pipe that nobody reads would stop it."""

    store: str
    process: psutil.Popen
    log: Path

    def until(self, step: str) -> None:
        """Wait for the first work unit of a step."""
        wait_for_unit(self.store, step, lambda: self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def end(self, code: int = 0) -> str:
        """Output of a build that ended well, on one line, because tables may break it anywhere."""
        assert self.process.wait(BUILD_SECONDS) == code, self.log.read_text()
        return " ".join(self.log.read_text().split())


Start = Callable[..., Running]


def files(store: str) -> Files:
    """Every file that a corpus consists of."""
    opened = Store.open(store)
    paths = [path for folder in ("data", "training", "artifacts") for path in opened.list(folder)]
    return {path: opened.get(path) for path in paths}


def receipts(store: str, step: str) -> int:
    """Work units of a step that are done."""
    try:
        return sum(1 for _ in Store.open(store).list(f"data/receipts/{step}"))
    except StorageError:  # no store yet
        return 0


def wait_for_unit(store: str, step: str, ended: Callable[[], Any]) -> None:
    """Wait for the first work unit of a step; no longer where whoever does it has `ended`."""
    wait_for(f"a work unit of {step}", lambda: receipts(store, step) or ended(), BUILD_SECONDS)


def work_units(undisturbed: Files, step: str) -> int:
    """Number of work units of a step."""
    return sum(path.startswith(f"data/receipts/{step}/") for path in undisturbed)


def check_same(store: str, undisturbed: Files) -> None:
    """The corpus is whole, it is the first version, and it is that of the undisturbed build, byte for byte."""
    verify(store)
    assert resolve(store)[1].number == 1
    assert files(store) == undisturbed


def verify(store: str) -> None:
    checked = subprocess.run([*CLI, "verify", store], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
