"""Marks of programs at work in a store: builds and copies keep `echox gc` out, and it keeps them out.

A build reuses files that no version refers to: the receipts of builds that did not finish. `gc` removes just these. So
each of the two writes its own mark first and then looks for marks of the other kind: whatever the order, the second one
sees the first. A build then takes its mark back and waits; `gc` refuses. The same happens once more around the commit,
where the build checks that all that its version refers to is there. So it is safe even if a program was stopped for so
long that its mark did not count any more.

A program writes its mark anew every half minute. The mark of a process of this machine counts while the process
exists, whatever its age. One of another machine counts for `LEASES` after it was written last: a killed program leaves
its mark. Times are those of the store's own clock. `gc` checks before each removal that its mark still counts.

The mark of a program that did not finish stays, marked as ended: what was written since the program began can be
resumed, so `gc` spares it for a while (`unfinished_since`). Marks are removed by the next program that finishes.
"""

import getpass
import logging
import os
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Literal
from uuid import uuid4

from pydantic import TypeAdapter

from storage.errors import CorruptStore, NotFound, StorageError
from storage.records import read_object, to_json, typed
from storage.s3 import Listed
from storage.store import Store

Kind = Literal["work", "gc"]
"""Activity of a program: it adds to the store, or removes from it."""
Unfinished = Literal["never", "after an error", "always"]
"""When a program leaves work that a later one goes on with."""
FOLDER = "running"
REFRESH_SECONDS = 30.0
"""Time after which a program writes its mark anew."""
LEASES: dict[Kind, timedelta] = {"work": timedelta(hours=1), "gc": timedelta(minutes=15)}
"""Time for which the mark of another machine counts after it was written last; a fit may keep a build from writing."""
POLL_SECONDS = 1.0
"""Time after which a build looks again whether `gc` has ended."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """A program's statement about itself.

    Attributes:
        by: user, machine and number of the process, for people.
        machine: digest-like name of the machine since its start and of the set of its processes; empty = unknown.
        process: number and start of the process on that machine.
        began: UTC, ISO 8601.
        ended: the program ended without finishing its work.
    """

    by: str
    machine: str
    process: str
    began: str
    ended: bool = False

    def lives(self, lease: timedelta, age: timedelta) -> bool:
        """Whether the program may still be at work; `age` is the time since the mark was written last."""
        if self.ended:
            return False
        if self.machine and self.machine == _machine():
            return _process(int(self.process.partition(" ")[0])) == self.process
        return age < lease

    def __str__(self) -> str:
        return f"{self.by}, since {self.began}"


_MARK = TypeAdapter(Mark)


class Holder:
    """Writes the mark of this program, and keeps it fresh.

    Args:
        store: the store.
        kind: what the program does.
        unfinished: when it leaves work that a later program goes on with.
    """

    def __init__(self, store: Store, kind: Kind, unfinished: Unfinished = "never") -> None:
        self.unfinished = unfinished
        self.path = f"{FOLDER}/{kind}-{uuid4().hex}.json"
        self._store = store
        self._lease = LEASES[kind]
        self._mark = this_program()
        self._written = 0.0
        self._stop = Event()
        self._thread = Thread(target=self._refresh, name="mark", daemon=True)

    def put(self) -> None:
        """Write the mark.

        Raises:
            StorageError: the store does not answer or refuses.
        """
        now = time.time()
        self._store.put(self.path, to_json(asdict(self._mark)))
        self._written = now

    def take_back(self) -> None:
        """Remove the mark.

        Raises:
            StorageError: the store does not answer or refuses.
        """
        self._store.delete(self.path)

    def keep(self) -> None:
        """Begin to write the mark anew every `REFRESH_SECONDS`."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the mark as it is; nothing is written later."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def leave(self) -> None:
        """Say in the mark that the program ended without finishing.

        Raises:
            StorageError: the store does not answer or refuses.
        """
        self._store.put(self.path, to_json(asdict(self._mark) | {"ended": True}))

    def check(self) -> None:
        """Refuse to go on with a mark that may not count any more, because this program was stopped for long.

        Raises:
            StorageError: it is so.
        """
        if time.time() - self._written > self._lease.total_seconds() / 2:
            raise StorageError(f"{self._store.uri}: its disk or server did not answer for long; run the command again")

    def _refresh(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            with suppress(StorageError):  # `check` and the lease deal with a mark that becomes too old
                self.put()


@contextmanager
def at_work(store: Store, unfinished: Unfinished = "after an error") -> Generator[Holder]:
    """Keep `echox gc` from removing anything while the program inside adds to a store; wait for one that runs.

    It yields the mark, whose `unfinished` the program may change.

    Args:
        store: the store.
        unfinished: when the program leaves work that a later one goes on with.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    holder = Holder(store, "work", unfinished)
    holder.put()
    try:
        _wait_for_gc(store, holder)
        holder.keep()
        yield holder
    except BaseException:
        holder.stop()
        with suppress(StorageError):  # another error is under way; the mark of a dead process does not count either
            holder.take_back() if holder.unfinished == "never" else holder.leave()
        raise
    holder.stop()
    if holder.unfinished == "always":
        holder.leave()
    else:
        holder.take_back()
    if holder.unfinished == "after an error":
        _sweep(store)


def _wait_for_gc(store: Store, holder: Holder) -> None:
    told = False
    while found := living(store, "gc"):
        holder.take_back()
        if not told:
            log.warning("waiting for echox gc in %s (%s)", store.uri, found[0])
            told = True
        time.sleep(POLL_SECONDS)
        holder.put()


@contextmanager
def alone(store: Store) -> Generator[Holder]:
    """Keep builds from a store while something is removed from it; yield the mark that keeps them out.

    Raises:
        StorageError: a program is at work in the store, or the store does not answer or refuses.
    """
    holder = Holder(store, "gc")
    holder.put()
    try:
        for kind in LEASES:
            if found := living(store, kind, but=holder.path):
                raise StorageError(f"{store.uri}: a program is at work there ({found[0]}); run gc when it has ended")
        holder.keep()
        yield holder
    finally:
        holder.stop()
        holder.take_back()


def living(store: Store, kind: Kind, but: str = "") -> list[Mark]:
    """Marks of programs that may still be at work, by the clock of the store; the caller has just written its own.

    Args:
        store: the store.
        kind: what they do.
        but: path of a mark to leave out.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    return [mark for path, mark in _living(store, kind) if path != but]


def living_paths(store: Store) -> set[str]:
    """Paths of the marks of all programs that may still be at work.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    return {path for kind in LEASES for path, _ in _living(store, kind)}


def clock(store: Store, path: str) -> datetime:
    """When a mark was written last, by the clock of the store.

    Raises:
        StorageError: the mark is not there, or the store does not answer or refuses.
    """
    found = next((file.modified for file in store.listed(FOLDER) if file.path == path), None)
    if found is None:
        raise StorageError(f"{store.url(path)}: somebody removed this mark; run the command again")
    return found


def _living(store: Store, kind: Kind) -> Iterator[tuple[str, Mark]]:
    """Yield path and contents of the marks that count."""
    for file, mark, age in _marks(store, kind):
        if mark.lives(LEASES[kind], age):
            yield file.path, mark


def unfinished_since(store: Store, since: datetime) -> datetime | None:
    """When the first of the programs began that ended, without finishing their work, after `since`; None if none did.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    began = [mark.began for file, mark, _ in _marks(store, "work") if file.modified > since]
    return min(map(datetime.fromisoformat, began), default=None)


def this_program() -> Mark:
    """This program's statement about itself."""
    number = os.getpid()
    by = f"{getpass.getuser()} on {socket.gethostname()}, process {number}"
    began = datetime.now(UTC).isoformat(timespec="seconds")
    return Mark(by, _machine(), _process(number), began)


def _sweep(store: Store) -> None:
    """Remove the marks of programs that ended: what they left is used now, or not wanted any more."""
    for file, mark, age in list(_marks(store, "work")):
        if not mark.lives(LEASES["work"], age):
            store.delete(file.path)


def _marks(store: Store, kind: Kind) -> Iterator[tuple[Listed, Mark, timedelta]]:
    """Yield the marks, and how much younger the youngest of all is: mostly the one that the caller has just written."""
    files = list(store.listed(FOLDER))
    for file in files:
        if file.path.startswith(f"{FOLDER}/{kind}-"):
            with suppress(NotFound):  # the program has just ended
                yield file, _read(store, file), max(other.modified for other in files) - file.modified


def _read(store: Store, file: Listed) -> Mark:
    url = store.url(file.path)
    data = store.get(file.path)
    try:
        return typed(_MARK, read_object(data, url), url)
    except CorruptStore:
        return Mark("unknown", "", "", file.modified.isoformat())


@cache
def _machine() -> str:
    """Name of this machine since its start, and of the set of processes that this process can see; empty = unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process(number: int) -> str:
    """Number and start of a process of this machine; only the number if it does not run."""
    try:
        state, *fields = Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return str(number)
    return str(number) if state in "ZX" else f"{number} {fields[18]}"
