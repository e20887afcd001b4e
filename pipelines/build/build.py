"""Build a corpus: run the steps in order, then commit once.

Each step skips work that the last version has (receipts in its version) or that an unfinished build did (receipts in
the store). So a killed build resumes where it stopped, a finished one does nothing, and new audio costs only itself.
"""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console

from pipelines.build.commit import Built, finish
from pipelines.build.given import take
from pipelines.build.handover import begin, built
from pipelines.build.parent import open_parent
from pipelines.build.runners import run_steps, step_runner
from pipelines.cluster.jobs import is_job_server
from pipelines.config.build import BuildConfig
from pipelines.engine.ray import check_address
from pipelines.engine.session import Session
from pipelines.engine.state import BuildState
from pipelines.errors import UserError
from pipelines.steps import steps
from storage.collecting.marks import Holder, at_work
from storage.versions import Version, contents_of
from unitlang.registry import nearest


def build(config: BuildConfig, console: Console, ray_address: str | None = None) -> Built:
    """Build the corpus of `config`, or bring it up to date.

    Args:
        config: configuration of the build.
        console: shows the progress.
        ray_address: `HOST:PORT` of a Ray cluster that this process drives, or `http://HOST:PORT` of its job server,
            which then runs the whole build as a job; None starts Ray on this machine when needed.

    Raises:
        UserError: config or sources are invalid, too many entries are rejected, or no Ray cluster answers.
        StorageError: the store cannot be read or written, or another build committed first.
        AssertionError: a step lost or duplicated an utterance.
    """
    if is_job_server(ray_address):
        return _build_by_jobs(config, console, ray_address)
    with _begun(config, console, ray_address) as (state, _):
        for step in steps().values():
            step.run(state)
        return finish(state)


def run_until(config: BuildConfig, console: Console, last: str, ray_address: str | None = None) -> BuildState:
    """Run the steps up to and including `last` without a commit; return the state of the build.

    Finished work is skipped, as in `build`.

    Args:
        config: configuration of the build.
        console: shows the progress.
        last: name of the last step to run.
        ray_address: `HOST:PORT` of a Ray cluster; None starts Ray on this machine when needed.

    Raises:
        UserError: no step has that name, `ray_address` is a job server, or a reason that `build` lists.
        StorageError: the store cannot be read or written.
    """
    if last not in steps():
        raise UserError(f"--until {last}: no such step; {nearest(last, steps())}")
    if is_job_server(ray_address):
        raise UserError(f"--ray {ray_address}: --until does not run as a job; give HOST:PORT of the Ray cluster")
    with _begun(config, console, ray_address) as (state, mark):
        for name, step in steps().items():
            step.run(state)
            if name == last:
                break
        mark.unfinished = "always" if _has_news(state) else "never"
        return state


def _has_news(state: BuildState) -> bool:
    """Whether the steps so far made anything that the parent version does not refer to."""
    made = contents_of(state.steps, state.artifacts.values())
    known = state.parent.contents if state.parent else contents_of({}, ())
    return bool({*made.receipts} - {*known.receipts}) or any(ref not in known.artifacts for ref in made.artifacts)


@contextmanager
def _begun(config: BuildConfig, console: Console, ray_address: str | None) -> Generator[tuple[BuildState, Holder]]:
    """Yield the state of a build before its first step, and the mark that it leaves in the store while it runs."""
    if ray_address is not None:
        check_address(ray_address)
    store, parent = open_parent(config)
    with at_work(store, "never") as mark, Session(store, config.run, ray_address, console) as session:
        state = first_state(config, session, parent)
        mark.unfinished = "after an error"
        yield state, mark


def first_state(config: BuildConfig, session: Session, parent: Version | None) -> BuildState:
    """The state of a build before its first step.

    Raises:
        UserError, StorageError: as `pipelines.build.given.take`.
    """
    given = take(config, session.store, parent)
    return BuildState(
        given.config, session, parent, artifacts=given.artifacts, specs=given.specs, origins=given.origins
    )


def _build_by_jobs(config: BuildConfig, console: Console, ray_address: str) -> Built:
    with step_runner(config, ray_address, console) as run:
        return built(run_steps(begin(config), run))
