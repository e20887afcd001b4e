"""`echox debug`: compute one work unit again, alone in this process."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console

from pipelines.config.build import BuildConfig
from pipelines.config.faults import nearest
from pipelines.engine.build_step import TableStep
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.failures import read_failure
from pipelines.engine.session import Session
from pipelines.engine.state import BuildState
from pipelines.engine.step import Step, WorkUnit, perform
from pipelines.errors import UserError
from pipelines.steps import computations, steps
from storage.manifests import latest
from storage.receipts import Receipt
from storage.store import Store

Work = tuple[Step[Any], WorkUnit[Any]]


def rerun(store: str, step: str, fingerprint: str) -> Receipt:
    """Compute a work unit again: one that the last failed run of its step had to do, or one of the last version.

    Its output is written as in a build.

    Args:
        store: folder or s3:// URL of the corpus.
        step: name of the step.
        fingerprint: of the work unit, as the failure's message names it; its first characters suffice.

    Raises:
        UserError: no step has that name, or it has no such work unit.
        Exception: the failure itself.
    """
    if step not in computations():
        raise UserError(f"step {step}: computes no work units; {nearest(step, computations())}")
    place = Store.open(store)
    known = {
        unit.fingerprint: (configured, unit) for configured, unit in [*_failed(place, step), *_planned(place, step)]
    }
    found = [work for name, work in known.items() if name.startswith(fingerprint)]
    if len(found) != 1:
        remedy = nearest(fingerprint, known) if known else "none of its runs failed, and no version has it"
        raise UserError(f"{store}: step {step} has {len(found)} work units {fingerprint}...; {remedy}")
    configured, work_unit = found[0]
    return perform(configured, configured.open(place), place, work_unit)


def _failed(store: Store, name: str) -> Iterator[Work]:
    """Yield the work units that the last failed run of a step had to do."""
    failure = read_failure(store, name)
    if failure is not None:
        step = computations()[name](**failure["step"])
        yield from ((step, WorkUnit(**unit)) for unit in failure["work_units"])


def _planned(store: Store, name: str) -> Iterator[Work]:
    """Yield the work units of a step that a build from nothing, with the config of the last version, would plan."""
    version, step = latest(store), steps().get(name)
    if version is None or step is None or not issubclass(step, TableStep):
        return
    config = BuildConfig.model_validate({**version.config, "store": store.uri})
    with Session(store, ExecutionConfig(), None, Console(quiet=True)) as session:
        plan = step.plan(BuildState(config, session, None, version.steps, version.artifacts, version.lineage["specs"]))
    yield from ((plan.step, unit) for unit in plan.work_units)
