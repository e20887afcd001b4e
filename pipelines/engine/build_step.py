"""Base classes of a build's steps: one module of `pipelines.steps` defines one of them and is found by itself.

A `TableStep` computes rows work unit by work unit; a `FitStep` learns an artifact from a sample of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.engine.state import BuildState
from pipelines.engine.step import PayloadT, Step, WorkUnit
from pipelines.records import Receipts
from storage.artifacts import ArtifactRef
from storage.manifests import Manifest
from storage.receipts import Receipt
from storage.store import Store
from unitlang.config import FrozenConfig


class BuildStep(ABC):
    """A step of a build."""

    name: ClassVar[str]
    """Unique among the steps; part of paths and fingerprints in stores."""
    after: ClassVar[tuple[str, ...]]
    """Names of the steps whose output it reads."""
    settings: ClassVar[type[FrozenConfig] | None] = None
    """Its section of the build's config, named like the step; None where it has none of its own."""

    @classmethod
    @abstractmethod
    def run(cls, build: BuildState) -> None:
        """Add what the step makes to the state of a build, computing only what is not there yet.

        Raises:
            UserError: config or sources do not allow it; the message names the remedy.
        """


@dataclass(frozen=True)
class Plan:
    """Work of a `TableStep` in one build.

    Attributes:
        step: the configured step.
        work_units: what to compute; finished ones are skipped.
        speed: rough seconds of audio that one core does in a second, to plan with.
        gains_by_gpu: whether workers should get a GPU where there are any.
        kept: receipts of the parent version that stay, ahead of the new ones.
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
        """The work of this step, given what the steps before it made."""

    @classmethod
    def expected_rows(cls, steps: Receipts) -> int | None:
        """Rows that must have entered the step, by the receipts of the steps before; None = not checked."""
        del steps
        return None

    @classmethod
    def check(cls, build: BuildState) -> None:
        """Look at the receipts of this step before the next one begins.

        Raises:
            UserError: the build should not go on.
        """

    @classmethod
    def problems(cls, store: Store, version: Manifest) -> Iterator[str]:
        """Yield one line for each fault in this step's tables, beyond checksums and accounts; for `echox verify`."""
        del store, version
        return iter(())

    @classmethod
    def run(cls, build: BuildState) -> None:
        """See `BuildStep.run`."""
        plan = cls.plan(build)
        made = build.session.run(
            plan.step,
            plan.work_units,
            speed=plan.speed,
            known=build.parent_receipts(cls.name),
            gpu=plan.gains_by_gpu,
        )
        build.steps[cls.name] = [*plan.kept, *made]
        cls.check(build)


class FitStep(BuildStep):
    """A step of a build that fits an artifact, or keeps that of the parent version while nobody asks for another."""

    artifact: ClassVar[str]
    """Kind of the artifact."""

    @classmethod
    @abstractmethod
    def spec(cls, build: BuildState) -> str:
        """Fingerprint of what the user asks for; while it stays, a corpus keeps its artifact."""

    @classmethod
    @abstractmethod
    def fit(cls, build: BuildState) -> ArtifactRef:
        """The artifact; nothing is computed where the store has it already.

        Raises:
            UserError: there is too little to learn from.
        """

    @classmethod
    def run(cls, build: BuildState) -> None:
        """See `BuildStep.run`."""
        same = build.matches_parent(cls.artifact, cls.spec(build))
        kept = build.parent.artifacts.get(cls.artifact) if build.parent and same and not build.config.refit else None
        build.artifacts[cls.artifact] = kept or cls.fit(build)
