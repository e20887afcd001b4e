"""A work unit that kills its process: the others are done, the guilty utterance is named, nothing dies for ever."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import psutil
import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.engine.answers import WorkUnitFailed
from pipelines.engine.crashes import DEATHS, LAST_DEATHS, WorkUnitsKilled, deaths, mark, sweep
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.failures import read_failure
from pipelines.engine.isolation import Computation
from pipelines.engine.session import Session
from pipelines.engine.step import Output, Process, Reject, Step, WorkUnit
from pipelines.records import RowsPayload, selected
from storage.receipts import Receipt, read_receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table

pytestmark = pytest.mark.slow

HUNGER_BYTES = 200 * 2**20


class Words(RowsPayload):
    words: list[str]


@dataclass(frozen=True)
class Read(Step[Words]):
    """Words -> one row each; some words kill the process that reads them."""

    name: ClassVar[str] = "read"
    revision: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("units",)
    cured: str = ""
    """A file; while it exists, no word kills."""

    def open(self, store: Store) -> Process[Words]:
        return self.read

    def read(self, payload: Words) -> Output:
        words = selected(payload["words"], payload)
        if not (self.cured and Path(self.cured).exists()):
            for word in words:
                kill(word)
            if {"both", "together"} <= set(words):
                os.kill(os.getpid(), signal.SIGSEGV)
        rows = [
            {"utterance_id": word, "dataset": "d", "units": [1], "durations": [1], "num_frames": 1} for word in words
        ]
        return Output([("units", pa.Table.from_pylist(rows, SCHEMAS["units"]))], len(words), len(words))

    def crash_rejects(self, store: Store, payload: Words) -> list[Reject]:
        return [Reject("d", f"{word}.wav", "crashed", "", word, word.ljust(16).encode()) for word in payload["words"]]


@dataclass(frozen=True)
class Named(Read):
    """The same work under another name."""

    name: ClassVar[str] = "read_again"


@dataclass(frozen=True)
class Sweeping(Read):
    """Another build sweeps the store while a work unit is read."""

    def open(self, store: Store) -> Process[Words]:
        def read(payload: Words) -> Output:
            sweep(store)
            assert list(store.list("failures/begun")) == []
            return self.read(payload)

        return read


def kill(word: str) -> None:
    """Die as decoders do, or as the kernel ends a process that takes too much memory."""
    if word in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"):
        signal.pthread_kill(threading.get_ident(), signal.Signals[word])  # another thread would die too late
    elif word == "exit":
        os._exit(3)
    elif word == "hunger":
        eaten = np.ones(HUNGER_BYTES, np.uint8)
        os.kill(os.getpid(), signal.SIGKILL if eaten.any() else 0)
    elif word == "sleep":
        Path(os.environ["SLEEPS"]).write_text(str(os.getpid()))
        time.sleep(100)
    elif word == "error":
        raise ValueError("an error is no death")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def unit(step: Read, *words: str) -> WorkUnit[Words]:
    return step.work_unit(words, Words(words=list(words)), 1.0)


def run(
    store: Store, step: Read, *units: WorkUnit[Words], on_crash: Literal["stop", "reject"] = "stop", ray: bool = False
) -> list[Receipt]:
    config = ExecutionConfig(on_crash=on_crash, ray_above_seconds=0 if ray else 1000, workers=1)
    with Session(store, config, None, Console(file=io.StringIO())) as session:
        return session.run(step, units, speed=1.0)


def die(store: Store, step: Read, work_unit: WorkUnit[Words]) -> None:
    """Note the deaths after which the work unit is computed in a child."""
    mark(store, step, work_unit, DEATHS)


@pytest.mark.parametrize(
    "word",
    [
        *("SIGSEGV", "exit", "hunger"),
        *(pytest.param(name) for name in ("SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")),
    ],
)
def test_the_guilty_utterance_is_named_and_all_else_is_done(store: Store, word: str) -> None:
    step = Read()
    good, bad, last = unit(step, "a"), unit(step, "b", word, "c"), unit(step, "d")
    die(store, step, bad)
    with pytest.raises(WorkUnitsKilled) as caught:
        run(store, step, good, bad, last)
    said = str(caught.value)
    cause = {"exit": "exit code 3", "hunger": "SIGKILL"}.get(word, word)
    assert f"step read, work unit {bad.fingerprint}: {cause}, peak memory " in said
    assert f"utterance {word}, audio {word}.wav" in said
    assert f"echox debug {store.uri} read {bad.fingerprint}" in said
    assert ("lower run.workers" in said) == (word == "hunger")
    assert [read_receipt(store, "read", work.fingerprint) is not None for work in (good, bad, last)] == [1, 0, 1]
    failure = read_failure(store, "read")
    assert failure is not None
    assert len(failure["work_units"]) == 3


def test_the_memory_at_the_death_is_that_of_the_work(store: Store) -> None:
    step = Read()
    bad = unit(step, "hunger")
    die(store, step, bad)
    with pytest.raises(WorkUnitsKilled) as caught:
        run(store, step, bad)
    peak = int(str(caught.value).partition("peak memory ")[2].partition(" MiB")[0])
    assert peak > HUNGER_BYTES / 2**20 / 2  # seen at intervals, so a little less


def test_a_crash_may_be_rejected(store: Store) -> None:
    step = Read()
    bad = unit(step, "b", "SIGSEGV", "c", "SIGABRT")
    die(store, step, bad)
    (receipt,) = run(store, step, bad, on_crash="reject")
    assert (receipt.rows_in, receipt.rows_out, receipt.rejects) == (4, 2, {"crashed": 2})
    units, rejects = (read_table(store, file.path).to_pylist() for file in receipt.files)
    assert [row["utterance_id"] for row in units] == ["b", "c"]
    assert [(row["utterance_id"], row["reason"], row["source_key"]) for row in rejects] == [
        ("SIGSEGV", "crashed", b"SIGSEGV         "),
        ("SIGABRT", "crashed", b"SIGABRT         "),
    ]
    assert "kills the process that computes it: SIGABRT" in rejects[1]["message"]
    assert deaths(store, step, bad) == 0


@pytest.mark.parametrize("on_crash", ["stop", "reject"])
def test_what_kills_only_together_is_nobodys_fault(store: Store, on_crash: Literal["stop", "reject"]) -> None:
    step = Read()
    bad = unit(step, "both", "together")
    die(store, step, bad)
    with pytest.raises(WorkUnitsKilled, match="no utterance does so alone"):
        run(store, step, bad, on_crash=on_crash)


def test_a_child_makes_the_same_bytes(store: Store, tmp_path: Path) -> None:
    step = Read()
    work = unit(step, "a", "b")
    (plain,) = run(Store.open(tmp_path / "plain", create=True), step, work)
    die(store, step, work)
    assert run(store, step, work) == [plain]
    assert deaths(store, step, work) == 0


def test_once_cured_the_next_build_goes_on(store: Store, tmp_path: Path) -> None:
    step = Read(str(tmp_path / "cured"))
    bad = unit(step, "SIGSEGV")
    die(store, step, bad)
    with pytest.raises(WorkUnitsKilled):
        run(store, step, bad)
    Path(step.cured).touch()
    (receipt,) = run(store, step, bad)
    assert receipt.rows_out == 1
    assert deaths(store, step, bad) == 0


def test_an_error_is_no_death(store: Store) -> None:
    step = Read()
    bad = unit(step, "error")
    with pytest.raises(ValueError, match="no death"):
        run(store, step, bad)
    assert deaths(store, step, bad) == 0
    die(store, step, bad)
    with pytest.raises(WorkUnitFailed, match="no death"):
        run(store, step, bad)


def test_a_watcher_that_dies_too_is_not_followed_for_ever(store: Store) -> None:
    step = Read()
    bad = unit(step, "a")
    mark(store, step, bad, LAST_DEATHS)
    with pytest.raises(WorkUnitsKilled, match="an unknown signal"):
        run(store, step, bad)
    assert len(run(store, step, bad)) == 1  # the next build tries again


def test_builds_in_process_that_die_leave_a_mark_and_the_fourth_knows(store: Store) -> None:
    step = Read()
    bad = unit(step, "a", "SIGSEGV")
    build = f"from {__name__} import *; step = Read(); run(Store.open({store.uri!r}), step, unit(step, 'a', 'SIGSEGV'))"
    for died in range(DEATHS):
        assert deaths(store, step, bad) == died
        made = subprocess.run([sys.executable, "-c", build], check=False)
        assert made.returncode == -signal.SIGSEGV
    with pytest.raises(WorkUnitsKilled, match=r"utterance SIGSEGV, audio SIGSEGV\.wav"):
        run(store, step, bad)


def test_ctrl_c_ends_a_child_without_its_traceback(store: Store, tmp_path: Path) -> None:
    step, sleeps = Read(), tmp_path / "sleeps"
    die(store, step, unit(step, "sleep"))
    build = (
        f"from {__name__} import *; from pipelines.boundary import guarded; step = Read()\n"
        f"guarded(lambda: run(Store.open({store.uri!r}), step, unit(step, 'sleep')))"
    )
    command, environment = [sys.executable, "-c", build], {**os.environ, "SLEEPS": str(sleeps)}
    with subprocess.Popen(command, env=environment, process_group=0, stderr=subprocess.PIPE, text=True) as process:
        while not (sleeps.exists() and sleeps.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "interrupted; run the same command again to resume")
    assert "Traceback" not in said
    assert not psutil.pid_exists(int(sleeps.read_text()))
    assert deaths(store, step, unit(step, "sleep")) == DEATHS, "an interrupt is no death, and forgets none"


def test_only_marks_of_finished_work_units_are_swept(store: Store) -> None:
    step = Read()
    finished, begun, twin = unit(step, "a"), unit(step, "b"), Named().work_unit(["a"], Words(words=["a"]), 1.0)
    run(store, step, finished)
    for owner, work_unit in ((step, finished), (step, begun), (Named(), twin)):
        mark(store, owner, work_unit, 1)
    store.put("failures/begun/notes.txt", b"somebody's")
    sweep(store)
    assert [deaths(store, step, finished), deaths(store, step, begun), deaths(store, Named(), twin)] == [0, 1, 1]
    assert store.exists("failures/begun/notes.txt")
    sweep(store)


def test_a_store_without_marks_is_swept(store: Store) -> None:
    sweep(store)
    assert list(store.list()) == []


def test_a_work_unit_ends_well_though_another_build_swept_its_mark(store: Store) -> None:
    """Of two builds of one corpus, the first finished it and swept while the other still computed."""
    step = Sweeping()
    work = unit(step, "a")
    write_output(store, step.name, work.fingerprint, [], rows_in=1, rows_out=1, rejects={}, stats={})
    mark(store, step, work, 2)
    receipt = Computation(step, store, "stop")(work)
    assert isinstance(receipt, Receipt)
    assert read_receipt(store, step.name, work.fingerprint) == receipt
    assert deaths(store, step, work) == 0


@pytest.mark.parametrize("word", ["SIGSEGV", "hunger"])
def test_on_ray_a_killer_ends_after_three_deaths(store: Store, word: str) -> None:
    step = Read()
    units = [unit(step, f"good {number}") for number in range(6)]
    bad = unit(step, "a", word)
    with pytest.raises(WorkUnitsKilled, match=rf"utterance {word}, audio {word}\.wav"):
        run(store, step, *units[:3], bad, *units[3:], ray=True)
    assert all(read_receipt(store, "read", work.fingerprint) for work in units)
    assert deaths(store, step, bad) == DEATHS
    (receipt,) = run(store, step, bad, on_crash="reject", ray=True)
    assert receipt.rejects == {"crashed": 1}
