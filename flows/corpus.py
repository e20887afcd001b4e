"""The flow `build-corpus`: one Prefect task per step, so that each step is shown, retried and cached by itself."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import httpx
from prefect import flow, task
from prefect.cache_policies import INPUTS, RUN_ID
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled
from prefect.tasks import Task

from flows.artifacts import changes_of, in_words, publish_artifacts, publish_failure
from flows.cancellation import cancellation_watched, owner, stop_jobs
from flows.command import Terminal
from flows.relay import errors_shown, relayed
from flows.report.facts import facts
from flows.report.html import leave_report
from pipelines.build.commit import Built
from pipelines.build.handover import STEP_NAMES, Handover, begin, built
from pipelines.build.runners import RunStep, step_runner
from pipelines.cluster.jobs import JobStopped
from pipelines.config.build import BuildConfig, check_config
from pipelines.engine.state import EntryChanges
from pipelines.errors import USER_ERRORS, UserError
from storage.errors import Unavailable
from storage.store import Store
from storage.versions import resolve
from unitlang.errors import Unreachable
from unitlang.printing import shown

NEEDS_A_LOOK = "NeedsALook"
"""Name of the state of a run whose version a person must approve."""
RETRY_SECONDS = (10, 60)
PATIENCE_SECONDS = 10.0
"""Time that the server has to answer before a build starts."""

Values = dict[str, Any]


class Summary(TypedDict):
    """Result of a build as JSON values.

    Attributes:
        corpus: STORE@VERSION.
        new: whether this build made the version.
        changes: numbers of entries against the version before: new, changed, mended, healed, gone, removed, kept,
            rejected.
        version: number of the version.
        store: URI of the store.
        status: `accepted`, `candidate` or `approved`.
        review: why a person must approve it.
        hours: hours of speech with units.
    """

    corpus: str
    new: bool
    changes: dict[str, int]
    version: int
    store: str
    status: str
    review: list[str]
    hours: float


def worth_trying_again(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed step is run again: not after a mistake of the user, nor when somebody stopped it."""
    return isinstance(state.data, (Unavailable, Unreachable)) or not isinstance(state.data, (*USER_ERRORS, JobStopped))


@task(
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=list(RETRY_SECONDS),
    retry_condition_fn=worth_trying_again,
    cache_policy=(RUN_ID + INPUTS) - "run",
    persist_result=True,
    result_serializer="json",
)
def run_step(step: str, handover: Values, run: RunStep) -> Values:
    """Run one step of a build. A flow run that is started again skips the finished steps."""
    with relayed():
        try:
            return run(Handover(**handover), step).to_dict()
        except USER_ERRORS as error:
            publish_failure(step, error)
            raise


def run_build(config: BuildConfig, ray: str | None) -> Built:
    """Run all steps, each as a task of the current flow run.

    Raises:
        UserError, StorageError: as `pipelines.build.build.build`.
    """
    handover = begin(config).to_dict()
    console = Terminal(stderr=True)
    with step_runner(config, ray, console, owner()) as run, cancellation_watched(ray):
        for step in STEP_NAMES:
            handover = run_step.with_options(name=step)(step, handover, run)
    return built(Handover(**handover))


@task(name="report")
def publish(done: Built, config: BuildConfig) -> Summary:
    """Write the report into the store, say what has changed, and publish the artifacts in the UI."""
    store = Store.open(done.version.store)
    found, changes = facts(store, done.version), changes_of(done, config)
    publish_artifacts(found, leave_report(store, found), changes)
    get_run_logger().info("%s", in_words(changes))
    return {
        "corpus": done.version.uri,
        "new": done.new,
        "changes": asdict(done.changes),
        "version": found["version"],
        "store": found["store"],
        "status": found["status"],
        "review": found["review"],
        "hours": found["hours"],
    }


@flow(
    name="build-corpus",
    flow_run_name="build {config.store}",
    on_cancellation=[stop_jobs],
    on_crashed=[stop_jobs],
)
def build_corpus(config: BuildConfig, ray: str | None = None) -> Summary | State[Any]:
    """Build a corpus, or bring it up to date. A version that fails a gate ends in the state `NeedsALook`.

    Args:
        config: what to build; paths are absolute, or URLs.
        ray: `http://HOST:PORT` of a Ray cluster's job server, or `HOST:PORT` of the cluster; None starts Ray on the
            machine that runs this flow.

    Raises:
        UserError, StorageError: as `pipelines.build.build.build`.
    """
    with errors_shown():
        checked = check_config(config.model_dump(mode="json", exclude_unset=True), "parameters", Path.cwd())
        summary = publish(run_build(checked, ray), checked)
    if summary["status"] == "candidate":
        return needs_a_look(HeldBack(shown("; ".join(summary["review"])), summary))
    return summary


class HeldBack(UserError):  # noqa: N818 - reads as what it says
    """A build whose version a person must approve.

    Args:
        message: what to look at.
        summary: what the build made.
    """

    def __init__(self, message: str, summary: Summary) -> None:
        super().__init__(message)
        self.summary = summary


def needs_a_look(held: HeldBack) -> State[Any]:
    """The state of a run that waits for a person.

    The UI colours states by their type. A build that is held back is neither green as `Completed` nor red as `Failed`.
    Prefect raises what such a state holds, so it is an error.
    """
    return Cancelled(name=NEEDS_A_LOOK, message=str(held), data=held)


def summary_of(state: State[Any]) -> Summary | HeldBack:
    """The summary of a build that has ended, or that it is held back.

    Raises:
        Exception: the error that the build ended with.
    """
    found: Any = state.result(raise_on_failure=state.name != NEEDS_A_LOOK)
    return found


def build_as_flow(config: BuildConfig, ray: str | None) -> Built:
    """Run the build as a flow run in this process. It reports to the server at `PREFECT_API_URL`.

    Raises:
        UserError: no server answers there, or as `pipelines.build.build.build`.
    """
    check_server()
    state: State[Any] = build_corpus(config, ray, return_state=True)
    found = summary_of(state)
    summary = found.summary if isinstance(found, HeldBack) else found
    version = resolve(summary["corpus"])[1]
    return Built(version, summary["new"], EntryChanges(**summary["changes"]))


def check_server() -> None:
    """Refuse to build when the Prefect server does not answer.

    Raises:
        UserError: with the remedy.
    """
    url = PREFECT_API_URL.value()
    try:
        httpx.get(f"{url}/health", timeout=PATIENCE_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        remedy = "start one with `prefect server start`, or unset PREFECT_API_URL to build without a server"
        raise UserError(f"PREFECT_API_URL {url}: no Prefect server answers there ({error}); {remedy}") from error
