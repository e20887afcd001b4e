"""Where the steps of a build run: driven by this process, or each as a job of a Ray cluster."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from rich.console import Console

from pipelines.config import BuildConfig
from pipelines.handover import STEP_NAMES, Handover, advance
from pipelines.jobs import Job, Jobs
from pipelines.session import Session, check_address
from storage.store import Store

RunStep = Callable[[Handover, str], Handover]
"""Runs the step of a name on top of what the step before left."""


def is_job_server(ray_address: str | None) -> bool:
    """Whether an address is that of a cluster's job server."""
    return ray_address is not None and ray_address.startswith(("http://", "https://"))


@contextmanager
def step_runner(
    config: BuildConfig, ray_address: str | None, console: Console, metadata: Mapping[str, str] | None = None
) -> Generator[RunStep]:
    """What runs the steps of a build.

    Args:
        config: of the build.
        ray_address: `http://HOST:PORT` of a job server, `HOST:PORT` of a cluster, or None.
        console: where progress is shown.
        metadata: kept by the cluster beside each job.

    Raises:
        UserError: no cluster answers at the address.
    """
    if ray_address is not None and is_job_server(ray_address):
        yield _as_jobs(config, Jobs(ray_address), metadata or {})
        return
    if ray_address is not None:
        check_address(ray_address)
    with Session(Store.open(config.store, create=True), config.run, ray_address, console) as session:
        yield lambda handover, step: advance(handover, step, session)


def run_steps(handover: Handover, run: RunStep) -> Handover:
    """All steps and the commit."""
    for step in STEP_NAMES:
        handover = run(handover, step)
    return handover


def _as_jobs(config: BuildConfig, jobs: Jobs, metadata: Mapping[str, str]) -> RunStep:
    def run(handover: Handover, step: str) -> Handover:
        arguments = {"handover": handover.to_dict(), "step": step, "run": config.run.model_dump(mode="json")}
        folder = handover.path.rpartition("/")[0]
        return Handover(**jobs.run(Job("step", handover.store, folder, arguments, step, metadata)))

    return run
