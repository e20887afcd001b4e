"""Base classes of the steps of a build; each module of `pipelines.steps` that subclasses one is registered.

A `TableStep` computes tables by work units; a `FitStep` fits an artifact to a sample.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from pipelines.engine.rejects import check_rejects
from pipelines.engine.state import BuildState
from pipelines.engine.step import PayloadT, Step, WorkUnit
from pipelines.records import Receipts
from storage.artifacts import ArtifactRef
from storage.receipts import Receipt
from storage.store import Store
from storage.versions import Version
from unitlang.config import FrozenConfig


class BuildStep(ABC):
    """A step of a build."""

    name: ClassVar[str]
    """Unique name of the step; part of paths and fingerprints in stores."""
    after: ClassVar[tuple[str, ...]]
    """Names of the steps whose output the step reads."""
    settings: ClassVar[type[FrozenConfig] | None] = None
    """Type of the config section that is named like the step; None if the step adds no section."""

    @classmethod
    @abstractmethod
    def run(cls, build: BuildState) -> None:
        """Add the output of the step to the state of a build; finished work is skipped.

        Raises:
            UserError: config or sources do not fit the step; the message names the remedy.
            StorageError: the store cannot be read or written.
        """


@dataclass(frozen=True)
class Plan:
    """Plan of a `TableStep` in one build.

    Attributes:
        step: the configured step.
        work_units: all work units of the step; finished ones are skipped.
        speed: approximate seconds of audio that one core processes per second.
        gains_by_gpu: whether workers get a GPU if there are any.
        kept: receipts of the parent version that stay, before the new ones.
    """

    step: Step[Any]
    work_units: Sequence[WorkUnit[Any]]
    speed: float
    gains_by_gpu: bool = False
    kept: Sequence[Receipt] = ()


@dataclass(frozen=True)
class TableStep(Step[PayloadT], BuildStep):
    """A step of a build that writes tables."""

    @classmethod
    @abstractmethod
    def plan(cls, build: BuildState) -> Plan:
        """Plan the work of this step from the output of the steps before it.

        Raises:
            UserError: config or sources do not fit the step; the message names the remedy.
            StorageError: the store cannot be read or written.
        """

    @classmethod
    def expected_rows(cls, steps: Receipts) -> int | None:
        """Number of rows that must have entered the step, by the receipts of earlier steps; None = not checked."""
        del steps
        return None

    @classmethod
    def check(cls, build: BuildState) -> None:
        """Check the receipts of this step before the next one begins.

        Raises:
            UserError: the build must stop, for instance because the step rejected everything.
        """

    @classmethod
    def problems(cls, store: Store, version: Version) -> Iterator[str]:
        """Yield one line for each fault in the tables of this step; `echox verify` checks checksums and accounts."""
        del store, version
        return iter(())

    @classmethod
    def run(cls, build: BuildState) -> None:
        """See `BuildStep.run`.

        Raises:
            UserError: with the rejects of this step, their ratio is above `max_reject_ratio`.
        """
        plan = cls.plan(build)
        parent = build.parent_receipts(cls.name)
        older = {} if build.recomputes(cls.name) else made_earlier(plan.work_units, parent)
        stays = [unit for unit in plan.work_units if unit.fingerprint in older]
        build.session.tell_earlier(plan.step, stays, plan.speed)
        todo = [unit for unit in plan.work_units if unit.fingerprint not in older]
        made = build.session.run(plan.step, todo, speed=plan.speed, known=parent, gpu=plan.gains_by_gpu)
        found = older | {unit.fingerprint: receipt for unit, receipt in zip(todo, made, strict=True)}
        build.steps[cls.name] = [*plan.kept, *(found[unit.fingerprint] for unit in plan.work_units)]
        cls.check(build)
        cls._check_rejects(build)

    @classmethod
    def _check_rejects(cls, build: BuildState) -> None:
        """Stop before the next step if there are too many; what is committed is not refused later."""
        receipts = build.steps[cls.name]
        if receipts != [*build.parent_receipts(cls.name)] and any(receipt.rejects for receipt in receipts):
            check_rejects(build.session.store, build.steps, cls.name, build.config.max_reject_ratio)


def made_earlier(work_units: Iterable[WorkUnit[Any]], receipts: Iterable[Receipt]) -> dict[str, Receipt]:
    """Receipts of the work units that only an earlier revision of the step has done, by their present fingerprints."""
    known = {receipt.fingerprint: receipt for receipt in receipts}
    found: dict[str, Receipt] = {}
    for unit in work_units:
        name = next((name for name in (unit.fingerprint, *unit.earlier) if name in known), unit.fingerprint)
        if name != unit.fingerprint:
            found[unit.fingerprint] = known[name]
    return found


class FitStep(BuildStep):
    """A step of a build that fits an artifact, or keeps that of the parent version if its `spec` is unchanged."""

    artifact: ClassVar[str]
    """Kind of the artifact."""

    @classmethod
    @abstractmethod
    def spec(cls, build: BuildState) -> str:
        """Fingerprint of the configuration of the artifact; while it is unchanged, a corpus keeps its artifact."""

    @classmethod
    @abstractmethod
    def fit(cls, build: BuildState) -> ArtifactRef:
        """Fit the artifact, unless the store has it already.

        Raises:
            UserError: there is too little speech to fit it to.
            StorageError: the store cannot be read or written.
        """

    @classmethod
    def run(cls, build: BuildState) -> None:
        """See `BuildStep.run`; an artifact that the build began with stays."""
        if cls.artifact in build.artifacts:
            return
        same = build.matches_parent(cls.artifact, cls.spec(build))
        kept = build.parent.artifacts.get(cls.artifact) if build.parent and same and not build.config.refit else None
        build.artifacts[cls.artifact] = kept or build.session.fitted(cls.artifact, partial(cls.fit, build))
