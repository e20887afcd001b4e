"""Steps that record the times of their work units in receipts; used by `build.py`.

This is a separate module because Ray's workers must import it by name.
"""

import os
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, cast

from rich.console import Console

from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.session import Session
from pipelines.engine.step import Output, Process, Step, WorkUnit
from storage.receipts import Receipt
from storage.store import Store
from unitlang.features import HubertExtractor


@dataclass(frozen=True)
class Timing:
    """Times of one work unit.

    Attributes:
        process: id of the process that computed it.
        began, ended: seconds of the wall clock.
        cpu: CPU seconds of the whole process in between.
        model: wall seconds inside `HubertExtractor.compute`.
        model_cpu: CPU seconds of the thread inside it.
        memory: peak memory of the process so far, in MB.
    """

    process: int
    began: float
    ended: float
    cpu: float
    model: float
    model_cpu: float
    memory: float


@dataclass
class Clock:
    """Wall and CPU seconds that this process spent inside the model."""

    wall: float = 0.0
    cpu: float = 0.0


@cache
def model_clock() -> Clock:
    """The clock of this process; the first call makes `HubertExtractor.compute` update it."""
    clock, compute = Clock(), HubertExtractor.compute

    def timed(self: HubertExtractor, batch: Any) -> list[Any]:
        wall, cpu = time.perf_counter(), time.thread_time()
        features = compute(self, batch)
        clock.wall += time.perf_counter() - wall
        clock.cpu += time.thread_time() - cpu
        return features

    HubertExtractor.compute = timed
    return clock


def timing_of(work: Callable[[], Any]) -> tuple[Any, Timing]:
    """The result of `work`, and its times."""
    clock = model_clock()
    model, model_cpu = clock.wall, clock.cpu
    began, cpu = time.time(), time.process_time()
    result = work()
    timing = Timing(
        process=os.getpid(),
        began=began,
        ended=time.time(),
        cpu=time.process_time() - cpu,
        model=clock.wall - model,
        model_cpu=clock.cpu - model_cpu,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    )
    return result, timing


@dataclass(frozen=True)
class TimedStep:
    """A step that adds the times of each work unit to its receipt; outputs and fingerprints stay the same."""

    inner: Step[Any]

    @property
    def name(self) -> str:
        """The step's."""
        return self.inner.name

    @property
    def tables(self) -> tuple[str, ...]:
        """The step's."""
        return self.inner.tables

    def open(self, store: Store) -> Process[Any]:
        """See `Step.open`."""
        process = self.inner.open(store)

        def timed(payload: Any) -> Output:
            output, timing = timing_of(lambda: process(payload))
            cast(dict[str, Any], output.stats)["timing"] = asdict(timing)
            return output

        return timed


class TimedSession(Session):
    """A session that keeps the timings of every step."""

    def __init__(self, store: Store, config: ExecutionConfig, console: Console) -> None:
        super().__init__(store, config, None, console)
        self.timings: dict[str, list[Timing]] = {}

    def run(
        self,
        step: Step[Any],
        work_units: Sequence[WorkUnit[Any]],
        *,
        speed: float,
        known: Iterable[Receipt] = (),
        gpu: bool = False,
    ) -> list[Receipt]:
        """See `Session.run`."""
        timed = cast(Step[Any], TimedStep(step))
        receipts = super().run(timed, work_units, speed=speed, known=known, gpu=gpu)
        self.timings[step.name] = [Timing(**receipt.stats["timing"]) for receipt in receipts]
        return receipts
