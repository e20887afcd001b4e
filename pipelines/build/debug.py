"""`echox debug`: compute one work unit again in this process."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console

from pipelines.config.build import BuildConfig
from pipelines.engine.build_step import TableStep
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.failures import read_failure
from pipelines.engine.session import Session
from pipelines.engine.state import BuildState
from pipelines.engine.step import Step, WorkUnit, perform
from pipelines.errors import UserError
from pipelines.steps import computations, steps
from storage.receipts import Receipt
from storage.store import Store
from storage.versions import latest
from unitlang.registry import nearest

Work = tuple[Step[Any], WorkUnit[Any]]


def rerun(store: str, step: str, fingerprint: str) -> Receipt:
    """Compute one work unit again and write its output as a build does.

    The work unit is one of those planned in the last failed run of its step, or one of the last version.

    Args:
        store: folder or s3:// URL of the corpus.
        step: name of the step.
        fingerprint: fingerprint of the work unit, as the failure reports it; a unique beginning suffices.

    Raises:
        UserError: no step has that name, or not exactly one of its work units matches.
        StorageError: the store cannot be read or written.
        Exception: the failure of the work unit.
    """
    if step not in computations():
        raise UserError(f"step {step}: computes no work units; {nearest(step, computations())}")
    corpus = Store.open(store)
    configured, work_unit = _find(corpus, step, fingerprint)
    return perform(configured, configured.open(corpus), corpus, work_unit)


def _find(store: Store, step: str, fingerprint: str) -> Work:
    """The work unit with that beginning; the last version is planned again only if the last failure lacks it."""
    known: dict[str, Work] = {}
    found: list[Work] = []
    for works in (_failed, _planned):
        for work in works(store, step):
            known |= dict.fromkeys((work[1].fingerprint, *work[1].earlier), work)
        found = [work for name, work in known.items() if name.startswith(fingerprint)]
        if len(found) == 1:
            return found[0]
    remedy = nearest(fingerprint, known) if known else "none of its runs failed, and no version has it"
    raise UserError(f"{store.uri}: step {step} has {len(found)} work units {fingerprint}...; {remedy}")


def _failed(store: Store, name: str) -> Iterator[Work]:
    """Yield the work units that were planned in the last failed run of a step."""
    failure = read_failure(store, name)
    if failure is not None:
        step = computations()[name](**failure["step"])
        yield from ((step, WorkUnit(**work_unit)) for work_unit in failure["work_units"])


def _planned(store: Store, name: str) -> Iterator[Work]:
    """Yield the work units that a build without a parent version would plan with the config of the last version."""
    version, step = latest(store), steps().get(name)
    if version is None or step is None or not issubclass(step, TableStep):
        return
    config = BuildConfig.model_validate({**version.config, "store": store.uri})
    with Session(store, ExecutionConfig(), None, Console(quiet=True)) as session:
        receipts = dict(version.steps)
        plan = step.plan(BuildState(config, session, None, receipts, version.artifacts, version.lineage["specs"]))
    yield from ((plan.step, work_unit) for work_unit in plan.work_units)
