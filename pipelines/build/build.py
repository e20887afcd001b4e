"""A corpus build: the steps one after the other, then one commit.

Each step asks first what is done already: by the last version (its receipts stand in the manifest), by a build that
did not come to its end (its receipts lie in the store). So a build that was killed goes on where it was, one that is
finished does nothing, and new audio costs only itself.
"""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console

from pipelines.build.commit import Built, finish
from pipelines.build.handover import begin, built
from pipelines.build.runners import run_steps, step_runner
from pipelines.cluster.jobs import is_job_server
from pipelines.config.build import BuildConfig
from pipelines.config.faults import nearest
from pipelines.engine.ray import check_address
from pipelines.engine.session import Session
from pipelines.engine.state import BuildState
from pipelines.errors import UserError
from pipelines.steps import steps
from storage.manifests import latest
from storage.store import Store


def build(config: BuildConfig, console: Console, ray_address: str | None = None) -> Built:
    """Build the corpus of `config`, or bring it up to date.

    Args:
        config: what to build.
        console: where progress is shown.
        ray_address: `HOST:PORT` of a Ray cluster, which this process then drives; `http://HOST:PORT` of its job
            server, where the whole build then runs as a job; None for a Ray of this machine's own.

    Raises:
        UserError: something in the config, the sources or the rejects is not as it must be, or no Ray is there.
        StorageError: the store refuses.
    """
    if is_job_server(ray_address):
        return _build_by_jobs(config, console, ray_address)
    with _begun(config, console, ray_address) as state:
        for step in steps().values():
            step.run(state)
        return finish(state)


def run_until(config: BuildConfig, console: Console, last: str, ray_address: str | None = None) -> BuildState:
    """Run the steps up to `last`, skipping finished work, and commit nothing; return what they made.

    Args:
        config: what to build.
        console: where progress is shown.
        last: name of the last step to run.
        ray_address: `HOST:PORT` of a Ray cluster, or None for a Ray of this machine's own.

    Raises:
        UserError: there is no such step, or it cannot run as a job; else as `build`.
        StorageError: as `build`.
    """
    if last not in steps():
        raise UserError(f"--until {last}: no such step; {nearest(last, steps())}")
    if is_job_server(ray_address):
        raise UserError(f"--ray {ray_address}: --until does not run as a job; give HOST:PORT of the Ray cluster")
    with _begun(config, console, ray_address) as state:
        for name, step in steps().items():
            step.run(state)
            if name == last:
                break
        return state


@contextmanager
def _begun(config: BuildConfig, console: Console, ray_address: str | None) -> Generator[BuildState]:
    """A build before its first step."""
    if ray_address is not None:
        check_address(ray_address)
    store = Store.open(config.store, create=True)
    with Session(store, config.run, ray_address, console) as session:
        yield BuildState(config, session, latest(store))


def _build_by_jobs(config: BuildConfig, console: Console, ray_address: str) -> Built:
    with step_runner(config, ray_address, console) as run:
        return built(run_steps(begin(config), run))
