"""Builds on the site: start one, wait for it, compare what it made."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psutil

from storage.errors import StorageError
from storage.manifests import resolve
from storage.store import Store

CLI = [sys.executable, "-c", "from flows.cli import main; main()"]
BUILD_SECONDS = 240.0

Start = Callable[..., psutil.Popen]
Config = dict[str, Any]
Files = dict[str, bytes]


def end(process: psutil.Popen, code: int = 0) -> str:
    """What a command wrote, once it has ended as it should."""
    said = process.communicate(timeout=BUILD_SECONDS)[0]
    assert process.returncode == code, said
    return said


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


def check_same(store: str, undisturbed: Files) -> None:
    """The corpus is whole, it is the first version, and it is that of the undisturbed build, byte for byte."""
    verify(store)
    assert resolve(store)[1].version == 1
    assert files(store) == undisturbed


def verify(store: str) -> None:
    checked = subprocess.run([*CLI, "verify", store], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
