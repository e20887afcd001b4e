"""Stop the Ray jobs of a flow run that was cancelled or has died."""

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.runtime import flow_run as current

from pipelines.cluster.jobs import Jobs, is_job_server

FLOW_RUN = "prefect-flow-run"
"""Metadata key of a Ray job; its value is the id of the flow run."""
LOOK_SECONDS = 3.0
"""Pause between two looks at the state of the flow run."""

log = logging.getLogger(__name__)


def owner() -> dict[str, str]:
    """Return the metadata for jobs of the current flow run."""
    return {FLOW_RUN: str(current.id)}


def stop_jobs(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - names are Prefect's
    """Stop the Ray jobs of a run that was cancelled or has died. A hook for flows with a parameter `ray`."""
    address = flow_run.parameters.get("ray")
    if is_job_server(address):
        Jobs(address).stop_all(FLOW_RUN, str(flow_run.id))


@contextmanager
def cancellation_watched(ray: str | None) -> Generator[None]:
    """Within a flow, stop its jobs as soon as the server reports that it is being cancelled.

    Prefect interrupts the process itself, usually at once, but its event can be lost while a server is busy or
    restarts.
    """
    if not is_job_server(ray):
        yield
        return
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(Jobs(ray), UUID(str(current.id)), done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()


def _watch(jobs: Jobs, flow_run: UUID, done: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not done.wait(LOOK_SECONDS):
            try:
                state = client.read_flow_run(flow_run).state
            except httpx.HTTPError as error:
                log.warning("the Prefect server does not answer: %s", error)
                continue
            if state is not None and state.is_cancelling():
                jobs.stop_all(FLOW_RUN, str(flow_run))
                return
