"""Where work units run: in this process when there is little to do, else as Ray Data jobs in one Ray session."""

import json
import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from pipelines.engine.progress import bar
from pipelines.engine.ray import connected
from pipelines.engine.step import Step, Task, perform
from pipelines.errors import KINDS, USER_ERRORS, UserError, kind_of
from storage.receipts import Receipt, list_receipts, read_receipt
from storage.store import Store

RECEIPT_READERS = 16
PATIENCE_SECONDS = 120
CLUSTER_PATIENCE_SECONDS = 900
"""A cluster may have to start machines first."""
SLOWEST = 10.0
"""Ray Data gives up when no work unit ended for the patience plus the largest unit's time on a machine that is 10 times
slower than planned for; a deadlock would otherwise be silent."""


RayStep = Literal["ingest", "sample_features", "quantize", "encode", "shard"]
"""Names of steps that run on Ray; `sample_features` is the sample that the quantizer is fitted to."""


class RunConfig(BaseModel):
    """How a build runs; changes nothing in what it makes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    workers: int | None = Field(default=None, ge=1)
    """Worker processes at most; default: as many as the Ray cluster has CPUs or, for features, GPUs for when a step
    begins. A number larger than that makes an autoscaler bring nodes."""
    gpus_per_worker: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """GPUs of a worker that computes features; shares are fine, 0 = compute on CPUs. Default: one where the cluster has
    any. A number asks for them also where an autoscaler must bring them first."""
    cpus_per_gpu_worker: int = Field(default=4, ge=1)
    """CPUs that Ray reserves for such a worker: they decode for the GPU."""
    resources: dict[RayStep, dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]]] = {}
    """Custom resources of Ray that a worker of a step asks for besides, to choose nodes: `quantize: {a100: 0.01}`."""
    ray_above_seconds: float = Field(default=60.0, ge=0.0)
    """A step below so many CPU seconds (estimated) runs in process: a Ray job takes 15 s to start; 0 = always Ray."""


class Session:
    """Runs the steps of one build; starts Ray when the first step needs it and stops it at the end.

    Args:
        store: where outputs go.
        config: how to run.
        ray_address: a Ray cluster's address; None = an own Ray on this machine.
        console: where progress is shown.
    """

    def __init__(self, store: Store, config: RunConfig, ray_address: str | None, console: Console) -> None:
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
        self, step: Step, tasks: Sequence[Task], *, speed: float, known: Iterable[Receipt] = (), gpu: bool = False
    ) -> list[Receipt]:
        """Receipts of all tasks, in their order; tasks that have one already are not done again.

        Args:
            step: the step.
            tasks: its work units.
            speed: rough seconds of audio that one core does in a second, to plan with.
            known: receipts at hand (those of the last version), which need not be looked for in the store.
            gpu: whether workers gain by a GPU.
        """
        receipts = {receipt.fingerprint: receipt for receipt in known}
        receipts |= self._finished(step, [task for task in tasks if task.fingerprint not in receipts])
        todo = [task for task in tasks if task.fingerprint not in receipts]
        if todo:
            with bar(step.name, sum(task.seconds for task in todo), self.console) as progress:
                seconds = {task.fingerprint: task.seconds for task in todo}
                for receipt in self._execute(step, todo, speed, gpu):
                    receipts[receipt.fingerprint] = receipt
                    progress.advance(seconds[receipt.fingerprint])
        return [receipts[task.fingerprint] for task in tasks]

    def _finished(self, step: Step, tasks: Sequence[Task]) -> dict[str, Receipt]:
        """Receipts that an earlier, unfinished build left in the store."""
        if not tasks:
            return {}
        listed = list_receipts(self.store, step.name)
        names = [task.fingerprint for task in tasks if task.fingerprint in listed]
        with ThreadPoolExecutor(RECEIPT_READERS) as pool:
            found = pool.map(lambda name: read_receipt(self.store, step.name, name), names)
            return {receipt.fingerprint: receipt for receipt in found if receipt is not None}

    def _execute(self, step: Step, todo: Sequence[Task], speed: float, gpu: bool) -> Iterator[Receipt]:
        cpu_seconds = sum(task.seconds for task in todo) / speed
        if cpu_seconds < self.config.ray_above_seconds:
            process = step.open(self.store)
            return (perform(step, process, self.store, task) for task in todo)
        return self._on_ray(step, todo, speed, gpu)

    def _on_ray(self, step: Step, todo: Sequence[Task], speed: float, gpu: bool) -> Iterator[Receipt]:
        self._start_ray()
        import ray.data

        there = ray.cluster_resources()
        needs = worker_needs(self.config, step.name, gpu, there)
        check_needs(needs, there, self._address)
        workers = worker_count(self.config, len(todo), needs, there)
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers)
        slowest = max(task.seconds for task in todo) / speed * SLOWEST
        patience = PATIENCE_SECONDS if self._address is None else CLUSTER_PATIENCE_SECONDS
        ray.data.DataContext.get_current().execution_no_progress_timeout_s = int(patience + slowest)
        job = pickle.dumps((step, self.store))
        rows = [{"job": job, "task": json.dumps(asdict(task))} for task in todo]
        outputs = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Worker,
            batch_size=1,
            compute=pool,
            num_cpus=needs["CPU"],
            num_gpus=needs["GPU"],
            resources={name: amount for name, amount in needs.items() if name not in ("CPU", "GPU")},
        )
        for row in outputs.iter_rows():
            if row["kind"]:
                raise KINDS[row["kind"]](row["error"])
            yield Receipt.from_dict(json.loads(row["receipt"]))

    def _start_ray(self) -> None:
        if self._started:
            return
        self._ray.enter_context(connected(self._address, self.config.workers))
        self._started = True
        from ray.data import DataContext

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False


def worker_needs(config: RunConfig, step: str, gpu: bool, there: Mapping[str, float]) -> dict[str, float]:
    """What a worker asks of Ray: a core, or a GPU and the cores that decode for it; and custom resources.

    Args:
        config: how to run.
        step: name of the step.
        gpu: whether the worker gains by a GPU.
        there: resources of the cluster by name.
    """
    custom = next((amounts for name, amounts in config.resources.items() if name == step), {})
    share = (1.0 if there.get("GPU", 0) >= 1 else 0.0) if config.gpus_per_worker is None else config.gpus_per_worker
    if gpu and share:
        return {"CPU": config.cpus_per_gpu_worker, "GPU": share, **custom}
    return {"CPU": 1, "GPU": 0, **custom}


def check_needs(needs: Mapping[str, float], there: Mapping[str, float], address: str | None) -> None:
    """Refuse to wait for what this machine has not; a cluster may grow.

    Raises:
        UserError: naming the field.
    """
    for name, amount in needs.items():
        if address is None and there.get(name, 0) < amount:
            field = {"CPU": "run.cpus_per_gpu_worker", "GPU": "run.gpus_per_worker"}.get(name, "run.resources")
            raise UserError(f"{field}: a worker would need {amount:g} {name}, this machine has {there.get(name, 0):g}")


def worker_count(config: RunConfig, tasks: int, needs: Mapping[str, float], there: Mapping[str, float]) -> int:
    """As many workers as are allowed, or as the cluster holds now, of those that are of use."""
    fitting = min(int(there.get(name, 0) / amount) for name, amount in needs.items() if amount)
    return max(1, min(tasks, config.workers or fitting))


class Worker:
    """The actor that Ray Data calls: opens the step with the first work unit, then does one a call.

    Step and store come with each row, not as arguments of the actor: those would live in the object store of one
    node, and with that node every actor that must be started again would be lost.
    """

    def __init__(self) -> None:
        self._perform: Callable[[Task], Receipt] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Do the one work unit of a batch; only its receipt goes back, or what the user must mend."""
        try:
            receipt = self._do(batch["job"][0], Task(**json.loads(str(batch["task"][0]))))
        except USER_ERRORS as error:
            return {"receipt": [""], "kind": [kind_of(error)], "error": [str(error)]}
        return {"receipt": [json.dumps(receipt.to_dict())], "kind": [""], "error": [""]}

    def _do(self, job: bytes, task: Task) -> Receipt:
        if self._perform is None:
            step, store = pickle.loads(job)  # noqa: S301 - written by the driver, above
            self._perform = partial(perform, step, step.open(store), store)
        return self._perform(task)
