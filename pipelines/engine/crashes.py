"""Work units that kill their process: marks of work in progress, which survive it, and what is known of a death.

A mark is written before a work unit is computed and removed afterwards, also after an error. What is left counts the
deaths: of a worker by a decoder's crash or for lack of memory, but also of a machine or of a build that was killed.
`sweep` removes what a kill left after the work unit was finished.
"""

import re
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.engine.step import Step, WorkUnit
from pipelines.errors import UserError
from storage.errors import NotFound
from storage.receipts import list_receipts
from storage.records import read_object, to_json
from storage.store import Store
from unitlang.printing import shown

DEATHS = 3
"""Deaths after which a work unit is computed in a process of its own."""
LAST_DEATHS = 2 * DEATHS
"""Deaths after which it is not tried again in this build: whoever watches over that process died too."""
FOLDER = "failures/begun"
MARK = re.compile(rf"{FOLDER}/(?P<step>\w+)-(?P<work_unit>\w+)\.json")


@dataclass(frozen=True)
class Crash:
    """A work unit that killed its process.

    Attributes:
        step: name of the step.
        work_unit: its fingerprint.
        places: utterances that kill the process alone, with their files; empty if none does, or it is unknown.
        cause: signal or exit code.
        peak_bytes: largest resident memory that was seen in the process; 0 = unknown.
    """

    step: str
    work_unit: str
    places: tuple[str, ...]
    cause: str
    peak_bytes: int

    def described(self, store: Store) -> str:
        """Two lines for people: what died of what, and the command that repeats it."""
        peak = f", peak memory {self.peak_bytes / 2**20:.0f} MiB" if self.peak_bytes else ""
        places = shown("; ".join(self.places)) or "no utterance does so alone"
        return (
            f"  step {self.step}, work unit {self.work_unit}: {self.cause}{peak}: {places}\n"
            f"    run it alone: echox debug {store.uri} {self.step} {self.work_unit}\n"
        )


class WorkUnitsKilled(UserError):  # noqa: N818 - reads as what it says
    """Work units that kill their process; all others of the step are done."""


def killed(store: Store, crashes: Sequence[Crash]) -> WorkUnitsKilled:
    """The error of a step with work units that kill their process."""
    memory = (
        "SIGKILL mostly means that memory ran out: lower run.workers, raise run.memory_per_worker so that fewer "
        "workers share a machine, or lower work_units.minutes.\n"
    )
    return WorkUnitsKilled(
        f"{len(crashes)} work units kill the process that computes them; the others of this step are done:\n"
        + "".join(crash.described(store) for crash in crashes)
        + (memory if any(crash.cause == "SIGKILL" for crash in crashes) else "")
        + "Nothing was committed. Mend or remove the files and build again; run.on_crash: reject leaves out utterances "
        "that kill their process by themselves, with the reason crashed."
    )


def deaths(store: Store, step: Step[Any], work_unit: WorkUnit[Any]) -> int:
    """Number of processes that died while they computed a work unit.

    Raises:
        StorageError: the store does not answer.
    """
    try:
        path = _path(step, work_unit)
        return int(read_object(store.get(path), store.url(path)).get("begun", 0))
    except NotFound:
        return 0


def mark(store: Store, step: Step[Any], work_unit: WorkUnit[Any], begun: int) -> None:
    """Note how often a work unit was begun and not ended.

    Raises:
        StorageError: the store cannot be written.
    """
    store.put(_path(step, work_unit), to_json({"begun": begun}))


@contextmanager
def counted(store: Store, step: Step[Any], work_unit: WorkUnit[Any], died: int) -> Generator[None]:
    """Mark a work unit as begun while a part of it is computed; the number of its deaths stays as it was, `died`.

    Raises:
        StorageError: the store cannot be written.
    """
    mark(store, step, work_unit, died + 1)
    try:
        yield
    finally:
        _leave(store, step, work_unit, died)


@contextmanager
def marked(store: Store, step: Step[Any], work_unit: WorkUnit[Any], died: int) -> Generator[None]:
    """Keep the mark of a work unit, after `died` deaths, while it is computed; an interrupt leaves them as they were.

    Raises:
        StorageError: the store cannot be written.
    """
    mark(store, step, work_unit, died + 1)
    left = died
    try:
        yield
        left = 0
    except Exception:
        left = 0
        raise
    finally:
        _leave(store, step, work_unit, left)


def _leave(store: Store, step: Step[Any], work_unit: WorkUnit[Any], died: int) -> None:
    if died:
        mark(store, step, work_unit, died)
    else:
        store.delete(_path(step, work_unit))


def sweep(store: Store) -> None:
    """Remove the marks of finished work units.

    This harms no other build: it computes a finished work unit at most once more, if it began before that was finished,
    and then only a death would not be counted.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    left = defaultdict[str, set[str]](set)
    for path in store.list(FOLDER):
        if found := MARK.fullmatch(path):
            left[found["step"]].add(found["work_unit"])
    for step, work_units in left.items():
        for work_unit in work_units & list_receipts(store, step):
            store.delete(_name(step, work_unit))


def _path(step: Step[Any], work_unit: WorkUnit[Any]) -> str:
    return _name(step.name, work_unit.fingerprint)


def _name(step: str, work_unit: str) -> str:
    return f"{FOLDER}/{step}-{work_unit}.json"
