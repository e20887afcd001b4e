"""Run the steps of a build in this process, or in a job on a Ray cluster."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from rich.console import Console

from pipelines.build.handover import STEP_NAMES, Handover, advance
from pipelines.cluster.jobs import Job, JobFailed, Jobs, RunningJob, is_job_server
from pipelines.config.build import BuildConfig
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.ray import check_address
from pipelines.engine.session import Session
from storage.collecting.marks import at_work
from storage.store import Store

RunStep = Callable[[Handover, str], Handover]
"""Runs the named step on top of the handover of the step before."""


@contextmanager
def step_runner(
    config: BuildConfig, ray_address: str | None, console: Console, metadata: Mapping[str, str] | None = None
) -> Generator[RunStep]:
    """Yield the function that runs a step of a build.

    Args:
        config: configuration of the build.
        ray_address: `http://HOST:PORT` of a job server, `HOST:PORT` of a cluster, or None.
        console: shows the progress.
        metadata: values that the cluster stores with the job.

    Raises:
        UserError: no cluster answers at the address.
        StorageError: the store cannot be opened.
    """
    if is_job_server(ray_address):
        runner = JobRunner(Jobs(ray_address), config.run, metadata or {})
        try:
            yield runner
        except BaseException:
            runner.stop()
            raise
        return
    if ray_address is not None:
        check_address(ray_address)
    store = Store.open(config.store, create=True)
    with at_work(store), Session(store, config.run, ray_address, console) as session:
        yield lambda handover, step: advance(handover, step, session)


def run_steps(handover: Handover, run: RunStep) -> Handover:
    """Run all steps and the commit.

    Raises:
        UserError: config or sources are invalid, or too many entries are rejected.
        StorageError: the store cannot be read or written, or another build committed first.
        JobFailed: the job on the cluster failed or ended early.
    """
    for step in STEP_NAMES:
        handover = run(handover, step)
    return handover


class JobRunner:
    """Runs the steps of a build in one job, from the first requested step to the commit.

    One job for each step would cost several seconds of start-up each.

    Args:
        jobs: client of the job server.
        run: settings of the execution on the cluster.
        metadata: values that the cluster stores with the job.
    """

    def __init__(self, jobs: Jobs, run: ExecutionConfig, metadata: Mapping[str, str]) -> None:
        self._jobs = jobs
        self._run = run
        self._metadata = metadata
        self._job: RunningJob | None = None

    def __call__(self, handover: Handover, step: str) -> Handover:
        """Wait for the step; the first call, or the first after a failure, starts the job or attaches to a running one.

        Raises:
            JobFailed: the job failed, or ended without the step.
            UserError: the mistake that the job reports.
            StorageError: the store did not answer the job.
        """
        if self._job is None:
            self._job = self._jobs.start(self._remaining(handover, step))
        try:
            for made in self._job:
                if made["step"] == step:
                    return Handover(**made)
        except BaseException:  # also Ctrl-C and SIGTERM: nothing would wait for the job any more
            self.stop()
            raise
        raise JobFailed(f"Ray job {self._job.submission} ended without the step {step}")

    def stop(self) -> None:
        """Stop the job if it still runs."""
        if self._job is not None:
            self._job.stop()
            self._job = None

    def _remaining(self, handover: Handover, step: str) -> Job:
        first = STEP_NAMES.index(step)
        arguments = {
            "handover": handover.to_dict(),
            "steps": STEP_NAMES[first:],
            "run": self._run.model_dump(mode="json"),
        }
        return Job("steps", arguments, "build", [handover.store, handover.build], first, self._metadata)
