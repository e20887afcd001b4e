"""Compute work units; one that killed three processes runs in a child process, which then finds the guilty utterance.

The child gets the work in a folder and leaves its answers there, line by line: a dead process cannot answer otherwise.
"""

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.engine.answers import answer, unpack
from pipelines.engine.crashes import DEATHS, LAST_DEATHS, Crash, deaths, mark, marked
from pipelines.engine.execution import OnCrash
from pipelines.engine.pools.decoded import Decoded
from pipelines.engine.step import Output, Process, Reject, Step, WorkUnit, perform
from storage.receipts import Receipt
from storage.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.02
"""Time between two looks at the memory of the child."""
Work = Callable[[], Iterator[Any]]
"""Work of a child: yields JSON values."""


class Computation:
    """Computes the work units of a step in this process, or in children those that killed their process before.

    Args:
        step: the step; opened when the first work unit needs it.
        store: the corpus.
        on_crash: what to do with utterances that kill their process.
    """

    def __init__(self, step: Step[Any], store: Store, on_crash: OnCrash) -> None:
        self._step = step
        self._store = store
        self._on_crash: OnCrash = on_crash
        self._process: Process[Any] | None = None

    def __call__(self, work_unit: WorkUnit[Any], decoded: Decoded | None = None) -> Receipt | Crash:
        """Compute a work unit.

        Args:
            work_unit: the work unit.
            decoded: its audio, if another process has decoded it.

        Raises:
            StorageError: the store cannot be read or written.
            Exception: any failure of the step.
        """
        step, store = self._step, self._store
        died = deaths(store, step, work_unit)
        if died >= LAST_DEATHS:
            mark(store, step, work_unit, DEATHS)
            return Crash(step.name, work_unit.fingerprint, (), "an unknown signal", 0)
        if died:
            log.warning("step %s, work unit %s: %d processes died at it", step.name, work_unit.fingerprint, died)
        with marked(store, step, work_unit, died):
            if died < DEATHS:
                self._process = self._process or step.open(store)
                return perform(step, _with_audio(self._process, decoded), store, work_unit)
            made = isolated(step, store, work_unit, self._on_crash)
        if isinstance(made, Crash):  # the next build begins with a child
            mark(store, step, work_unit, DEATHS)
        return made


def _with_audio(process: Process[Any], decoded: Decoded | None) -> Process[Any]:
    return process if decoded is None else lambda payload: process({**payload, "decoded": decoded})


def isolated(step: Step[Any], store: Store, work_unit: WorkUnit[Any], on_crash: OnCrash) -> Receipt | Crash:
    """Compute a work unit in a child; if that dies, find the utterances that kill it, and perhaps leave them out.

    Raises:
        StorageError: the store cannot be read or written.
        Exception: any failure of the step.
    """
    made = Child(partial(_perform, step, store, work_unit, {}))
    if not made.cause:
        return unpack(made.answers[0])
    guilty = _guilty(step, store, work_unit)
    if guilty and on_crash == "reject":
        rest = Child(partial(_perform, step, store, work_unit, guilty))
        if not rest.cause:
            return unpack(rest.answers[0])
    places = tuple(_place(reject) for reject in guilty.values())
    return Crash(step.name, work_unit.fingerprint, places, made.cause, made.peak_bytes)


class Child:
    """Runs work in a child process to its end.

    Attributes:
        answers: JSON values that the work yielded.
        cause: name of the signal or exit code that ended the process too early; empty if it ended well.
        peak_bytes: largest resident memory that was seen.
    """

    def __init__(self, work: Work) -> None:
        with tempfile.TemporaryDirectory(prefix="echox-child-") as folder:
            Path(folder, "work").write_bytes(pickle.dumps(work))
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-c", f"from {__name__} import main; main()", folder]
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
            try:
                self.peak_bytes = _watch(process)
            finally:
                process.kill()
                process.wait()
            self.cause = _cause(process.returncode)
            said = Path(folder, "answers")
            self.answers: list[Any] = [json.loads(line) for line in said.open()] if said.exists() else []


def main() -> None:
    """Do the work of a child's folder, the program's argument.

    Ctrl-C in a terminal reaches the parent too, which then ends this process; a traceback from here would only confuse.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = Path(sys.argv[1])
    work: Work = pickle.loads((folder / "work").read_bytes())  # noqa: S301 - written by the parent, above
    with (folder / "answers").open("w") as answers:
        for answer in work():
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process; return the largest resident memory that was seen, in bytes."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, _peak(process.pid))
        time.sleep(LOOK_SECONDS)
    return peak


def _peak(process: int) -> int:
    """Largest resident memory of a process until now, in bytes.

    `wait4` reports that of the parent instead if it is larger: the child begins as its copy.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has just ended, or this is no Linux
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}" if code else ""
    return signal.Signals(-code).name


def _perform(
    step: Step[Any], store: Store, work_unit: WorkUnit[Any], left_out: Mapping[int, Reject]
) -> Iterator[dict[str, str]]:
    """Yield the answer of a worker to a work unit; `left_out` has the rejects of rows that are not computed."""
    yield answer(lambda: perform(step, _without(step, store, left_out), store, work_unit))


def _without(step: Step[Any], store: Store, left_out: Mapping[int, Reject]) -> Process[Any]:
    """The function that computes a work unit without some of its rows, which become rejects."""
    process = step.open(store)
    if not left_out:
        return process

    def rest(payload: Mapping[str, Any]) -> Output:
        rows = len(step.crash_rejects(store, payload))
        output = process({**payload, "only": [number for number in range(rows) if number not in left_out]})
        output.rows_in += len(left_out)
        output.rejects += left_out.values()
        return output

    return rest


def _guilty(step: Step[Any], store: Store, work_unit: WorkUnit[Any]) -> dict[int, Reject]:
    """The rejects of the rows that kill a process alone, by position; each death costs one child."""
    rejects = step.crash_rejects(store, work_unit.payload)
    guilty: dict[int, Reject] = {}
    begin = 0
    while begin < len(rejects):
        child = Child(partial(_one_by_one, step, store, work_unit, begin, len(rejects)))
        if not child.cause or not child.answers:  # without an answer it died before the first row
            break
        last = int(child.answers[-1])
        fault = f"kills the process that computes it: {child.cause}, peak memory {child.peak_bytes / 2**20:.0f} MiB"
        guilty[last] = replace(rejects[last], message=fault)
        begin = last + 1
    return guilty


def _one_by_one(step: Step[Any], store: Store, work_unit: WorkUnit[Any], begin: int, end: int) -> Iterator[int]:
    """Yield the position of each row before it is computed alone; its output is dropped."""
    process = step.open(store)
    for number in range(begin, end):
        yield number
        try:
            process({**work_unit.payload, "only": [number]})
        except Exception:  # an error is no death; the work unit as a whole reports it
            log.debug("row %d of work unit %s fails", number, work_unit.fingerprint, exc_info=True)


def _place(reject: Reject) -> str:
    return f"utterance {reject.utterance_id}, audio {reject.source}"
