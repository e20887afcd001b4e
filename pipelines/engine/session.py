"""Run the work units of steps: few in this process, many as Ray Data jobs in one Ray session."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from pipelines.engine.answers import unpack
from pipelines.engine.crashes import Crash, killed
from pipelines.engine.execution import ExecutionConfig, check_needs
from pipelines.engine.failures import record_failure
from pipelines.engine.isolation import Computation
from pipelines.engine.pools.growth import cluster_room
from pipelines.engine.pools.job import answers_on_ray
from pipelines.engine.pools.pools import pools_of
from pipelines.engine.progress import bar
from pipelines.engine.ray import connected
from pipelines.engine.step import Step, WorkUnit
from pipelines.engine.worker import pack
from pipelines.errors import USER_ERRORS
from pipelines.interruption import interruption
from pipelines.reading import read_ahead
from storage.artifacts import ArtifactRef
from storage.receipts import Receipt, list_receipts, read_receipt
from storage.store import Store

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 120
CLUSTER_PATIENCE_SECONDS = 900
"""Longer, because a cluster may have to start machines first."""
SLOWEST = 10.0
"""Ray Data fails if no work unit ends for the patience plus the time of the largest work unit on a machine that is 10
times slower than planned; otherwise a deadlock would stay unnoticed."""


class Session:
    """Runs the steps of one build; starts Ray when the first step needs it and stops it at the end.

    Args:
        store: the corpus; receives the outputs.
        config: settings of the execution.
        ray_address: address of a Ray cluster; None starts Ray on this machine when needed.
        console: shows the progress.
    """

    def __init__(self, store: Store, config: ExecutionConfig, ray_address: str | None, console: Console) -> None:
        self.store = store
        self.config = config
        self.console = console
        self._address = ray_address
        self._ray = ExitStack()
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the Ray session, if one was started."""
        self._ray.close()
        self._started = False

    def run(
        self,
        step: Step[Any],
        work_units: Sequence[WorkUnit[Any]],
        *,
        speed: float,
        known: Iterable[Receipt] = (),
        gpu: bool = False,
    ) -> list[Receipt]:
        """Compute the work units that have no receipt yet; return the receipts of all, in order.

        Args:
            step: the step.
            work_units: all work units of the step.
            speed: approximate seconds of audio that one core processes per second, for planning.
            known: receipts of the last version, which are not looked up in the store.
            gpu: whether workers benefit from a GPU.

        Raises:
            UserError: a mistake of the user, or resources that this machine lacks.
            WorkUnitsKilled: work units kill the process that computes them; all others are done.
            StorageError: the store cannot be read or written.
            KeyboardInterrupt: the command was interrupted.
            Exception: any failure of the step, with notes that name the place and the command that repeats it.
        """
        receipts = {receipt.fingerprint: receipt for receipt in known}
        unknown = [work_unit for work_unit in work_units if work_unit.fingerprint not in receipts]
        receipts |= self._finished(step, unknown)
        todo = {work_unit.fingerprint: work_unit for work_unit in unknown if work_unit.fingerprint not in receipts}
        if todo:
            with bar(step.name, sum(work_unit.seconds for work_unit in todo.values()), self.console) as progress:
                for receipt in self._attempted(step, list(todo.values()), speed, gpu):
                    interruption().check()
                    receipts[receipt.fingerprint] = receipt
                    progress.advance(todo[receipt.fingerprint].seconds)
        return [receipts[work_unit.fingerprint] for work_unit in work_units]

    def fitted(self, kind: str, fit: Callable[[], ArtifactRef]) -> ArtifactRef:
        """The artifact that `fit` makes.

        Args:
            kind: kind of the artifact.
            fit: fits it, unless the store has it already.

        Raises:
            UserError, StorageError: as `fit`.
        """
        del kind
        return fit()

    def tell_earlier(self, step: Step[Any], work_units: Sequence[WorkUnit[Any]], speed: float) -> None:
        """Say which work units stay as an earlier revision of the step made them, and what the present one would cost.

        Args:
            step: the step.
            work_units: those that stay.
            speed: approximate seconds of audio that one core processes per second.
        """
        if work_units:
            hours = sum(work_unit.seconds for work_unit in work_units) / 3600
            log.warning(
                "%s: %s work units (%.3f h) stay as an earlier revision made them, this program has revision %s; "
                "--recompute %s makes them again, in about %.3f core hours",
                step.name,
                f"{len(work_units):,}",
                hours,
                step.revision,
                step.name,
                hours / speed,
            )

    def _finished(self, step: Step[Any], work_units: Sequence[WorkUnit[Any]]) -> dict[str, Receipt]:
        """Receipts that an unfinished build left in the store."""
        if not work_units:
            return {}
        listed = list_receipts(self.store, step.name)
        names = [work_unit.fingerprint for work_unit in work_units if work_unit.fingerprint in listed]
        reads = (partial(read_receipt, self.store, step.name, name) for name in names)
        found = read_ahead(reads)
        return {receipt.fingerprint: receipt for receipt in found if receipt is not None}

    def _attempted(self, step: Step[Any], todo: Sequence[WorkUnit[Any]], speed: float, gpu: bool) -> Iterator[Receipt]:
        """`_execute`, with a record of each failure of the program; `echox debug` repeats a work unit from it."""
        crashes: list[Crash] = []
        try:
            for made in self._execute(step, todo, speed, gpu):
                if isinstance(made, Crash):
                    crashes.append(made)
                else:
                    yield made
        except USER_ERRORS:
            raise
        except Exception as error:
            interruption().check()
            record = record_failure(self.store, step, todo)
            error.add_note(f"the work units that step {step.name} had to compute are listed in {record}")
            raise
        if crashes:
            record_failure(self.store, step, todo)
            raise killed(self.store, crashes)

    def _execute(
        self, step: Step[Any], todo: Sequence[WorkUnit[Any]], speed: float, gpu: bool
    ) -> Iterator[Receipt | Crash]:
        if not self.needs_ray(todo, speed):
            return map(Computation(step, self.store, self.config.on_crash), todo)
        return self._on_ray(step, todo, speed, gpu)

    def needs_ray(self, todo: Sequence[WorkUnit[Any]], speed: float) -> bool:
        """Whether work units are computed on Ray, by the CPU seconds that they are estimated to take."""
        return sum(work_unit.seconds for work_unit in todo) / speed >= self.config.ray_above_seconds

    def _on_ray(
        self, step: Step[Any], todo: Sequence[WorkUnit[Any]], speed: float, gpu: bool
    ) -> Iterator[Receipt | Crash]:
        self._start_ray()
        from ray.data import DataContext

        room = cluster_room()
        pools = pools_of(self._config_here(), step, todo, room, speed, gpu)
        check_needs(pools.computing.needs, room.now, self._address)
        slowest = max(work_unit.seconds for work_unit in todo) / speed * SLOWEST
        patience = PATIENCE_SECONDS if self._address is None else CLUSTER_PATIENCE_SECONDS
        DataContext.get_current().execution_no_progress_timeout_s = int(patience + slowest)
        longest_first = sorted(todo, key=lambda work_unit: -work_unit.seconds)  # a long one begun last delays the step
        rows = [pack(step, self.store, work_unit, self.config.on_crash) for work_unit in longest_first]
        with closing(answers_on_ray(rows, pools)) as answers:
            for row in answers:
                yield unpack(row)

    def _config_here(self) -> ExecutionConfig:
        """The config; on one machine, others decode only if that is asked for: Ray keeps little memory there."""
        auto = self._address is None and self.config.decode == "auto"
        return self.config.model_copy(update={"decode": "fused"}) if auto else self.config

    def _start_ray(self) -> None:
        if self._started:
            return
        self._ray.enter_context(connected(self._address, self.config.workers, self.config.decode == "apart"))
        self._started = True
        from ray.data import DataContext

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
