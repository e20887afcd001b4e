"""Marks of programs at work: which count, who waits, who refuses."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.collecting import marks
from storage.collecting.marks import FOLDER, LEASES, Mark, alone, at_work, living, this_program, unfinished_since
from storage.errors import StorageError
from storage.store import Store

ROOT = Path(__file__).parents[3]
ME = this_program()
NOW = timedelta(0)
AGES = [NOW, timedelta(days=400)]


@pytest.fixture
def ended() -> int:
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("age", AGES)
def test_the_mark_of_a_process_of_this_machine_counts_while_it_runs(age: timedelta, ended: int) -> None:
    """A process that is stopped, or does not let its thread write, still counts; one that was killed never does."""
    lease = timedelta(minutes=1)
    assert ME.lives(lease, age)
    assert not Mark("me", ME.machine, f"{ended} 17", ME.began).lives(lease, age)
    assert not Mark("me", ME.machine, f"{os.getpid()} 17", ME.began).lives(lease, age), "the number is used again"
    assert not Mark("me", ME.machine, ME.process, ME.began, ended=True).lives(lease, age)


@pytest.mark.parametrize("machine", ["", "another"])
def test_the_mark_of_another_machine_counts_for_a_while(machine: str, ended: int) -> None:
    mark = Mark("me", machine, f"{ended} 17", ME.began)
    lease = timedelta(minutes=1)
    assert [mark.lives(lease, timedelta(seconds=seconds)) for seconds in (0, 59, 60, 600)] == [True, True, False, False]


def test_a_killed_process_that_nobody_has_waited_for_does_not_count() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    mark = Mark("me", ME.machine, marks._process(process.pid), ME.began)  # pyright: ignore[reportPrivateUsage]
    assert mark.lives(timedelta(0), NOW)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not mark.lives(timedelta(0), NOW)
    process.wait()


def test_a_program_that_finishes_leaves_nothing(store: Store) -> None:
    with at_work(store):
        (mark,) = living(store, "work")
        assert f"process {os.getpid()}, since 20" in str(mark)
    assert list(store.list()) == []


def test_a_program_that_does_not_finish_leaves_word_until_one_finishes(store: Store) -> None:
    begin = datetime.now(UTC) - timedelta(seconds=5)
    with suppress(KeyboardInterrupt), at_work(store):
        raise KeyboardInterrupt
    with at_work(store, "always"):
        pass
    with suppress(ValueError), at_work(store, "never"):
        raise ValueError
    assert len(list(store.list(FOLDER))) == 2
    assert living(store, "work") == []
    since = unfinished_since(store, begin)
    assert since is not None
    assert begin < since <= datetime.now(UTC)
    assert unfinished_since(store, datetime.now(UTC) + timedelta(seconds=5)) is None
    with at_work(store, "never"):
        pass
    assert len(list(store.list(FOLDER))) == 2
    with at_work(store):
        pass
    assert list(store.list()) == []


def test_a_finishing_program_leaves_the_marks_of_those_at_work(store: Store) -> None:
    with at_work(store):
        with at_work(store):
            pass
        assert len(living(store, "work")) == 1


def test_gc_refuses_where_a_program_is_at_work(store: Store) -> None:
    with at_work(store):
        with (
            pytest.raises(StorageError, match=r"a program is at work there \(.*\); run gc when it has ended"),
            alone(store),
        ):
            pytest.fail("it did not refuse")
        assert living(store, "gc") == []
    with alone(store), pytest.raises(StorageError, match="a program is at work there"), alone(store):
        pytest.fail("a second one did not refuse")
    assert list(store.list()) == []


def test_a_program_waits_for_gc(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(marks, "POLL_SECONDS", 0.01)
    events: list[str] = []

    def work() -> None:
        with at_work(store):
            events.append("work")

    with caplog.at_level(logging.WARNING, "storage"), alone(store):
        thread = threading.Thread(target=work)
        thread.start()
        while not told(caplog):
            time.sleep(0.01)
        time.sleep(0.1)
        events.append("gc")
    thread.join()
    assert events == ["gc", "work"]
    (line,) = told(caplog)
    assert line.startswith(f"waiting for echox gc in {store.uri} (")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Messages of the marks to a person; moto logs too."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("storage")]


def test_a_mark_is_kept_fresh(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "REFRESH_SECONDS", 0.05)
    with at_work(store):
        (path,) = store.list(FOLDER)
        store.delete(path)
        deadline = time.monotonic() + 20
        while not store.exists(path):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    time.sleep(0.2)
    assert list(store.list()) == [], "it was written again after the end"


def test_gc_stops_when_its_mark_may_not_count_any_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a night in which the machine slept."""
    with alone(store) as mark:
        mark.check()
        later = time.time() + LEASES["gc"].total_seconds()
        monkeypatch.setattr(marks.time, "time", lambda: later)
        with pytest.raises(StorageError, match="did not answer for long; run the command again"):
            mark.check()


def test_the_mark_of_a_killed_build_does_not_stop_gc(store: Store) -> None:
    program = (
        "import sys, time\nfrom storage.store import Store\nfrom storage.collecting.marks import at_work\n"
        "with at_work(Store.open(sys.argv[1])):\n    print('there', flush=True)\n    time.sleep(60)\n"
    )
    store.put("x", b"")
    process = subprocess.Popen([sys.executable, "-c", program, store.uri], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    assert process.stdout.readline() == "there\n"
    assert len(living(store, "work")) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert living(store, "work") == []
    with alone(store):
        pass


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"by": 1}', b"\xff"])
def test_a_damaged_mark_counts_for_a_while(store: Store, data: bytes) -> None:
    store.put(f"{FOLDER}/work-1.json", data)
    with pytest.raises(StorageError, match="a program is at work"), alone(store):
        pytest.fail("it did not refuse")


def test_a_mark_of_another_program_of_this_format_is_read(store: Store) -> None:
    """Stores outlive programs, so the fields stay."""
    store.put(f"{FOLDER}/work-1.json", json.dumps(asdict(ME) | {"by": "me"}).encode())
    assert [mark.by for mark in living(store, "work")] == ["me"]
