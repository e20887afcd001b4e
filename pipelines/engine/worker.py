"""The Ray actor that computes work units."""

import json
import os
import pickle
from dataclasses import asdict
from typing import Any

from pipelines.engine.answers import answer
from pipelines.engine.crashes import Crash
from pipelines.engine.devices import RESERVED_CPUS
from pipelines.engine.execution import OnCrash
from pipelines.engine.isolation import Computation
from pipelines.engine.pools.decoded import Decoded
from pipelines.engine.step import Step, WorkUnit
from storage.receipts import Receipt
from storage.store import Store


def pack(step: Step[Any], store: Store, work_unit: WorkUnit[Any], on_crash: OnCrash = "stop") -> dict[str, Any]:
    """Pack a work unit as a row of the Ray dataset that `Worker` processes."""
    return {"job": pickle.dumps((step, store, on_crash)), "work_unit": json.dumps(asdict(work_unit))}


class Worker:
    """The actor that Ray Data calls; it opens the step at the first call and computes one work unit per call.

    Step and store are part of each row, not arguments of the actor. Ray keeps arguments in the object store of one
    node; if that node died, no actor could be restarted.
    """

    def __init__(self) -> None:
        self._compute: Computation | None = None
        note_reserved_cpus()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Compute the one work unit of a batch; return what `answer` returns, as columns."""
        row = answer(lambda: self.made(batch["job"][0], WorkUnit(**json.loads(str(batch["work_unit"][0])))))
        return {name: [value] for name, value in row.items()}

    def made(self, job: bytes, work_unit: WorkUnit[Any], decoded: Decoded | None = None) -> Receipt | Crash:
        """Compute a work unit, with its audio if another process has decoded it.

        Raises:
            StorageError: the store cannot be read or written.
            Exception: any failure of the step.
        """
        if self._compute is None:
            self._compute = Computation(*pickle.loads(job))  # noqa: S301 - written by the driver, above
        return self._compute(work_unit, decoded)


def note_reserved_cpus() -> None:
    """Note the CPUs that Ray reserved for this actor where `prepare_device` looks, in this process and its children."""
    import ray

    if ray.is_initialized():
        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
        os.environ[RESERVED_CPUS] = str(max(1, int(cpus)))
