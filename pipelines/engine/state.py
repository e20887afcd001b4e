"""The state of a build between its steps."""

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pipelines.engine.session import Session
from pipelines.records import CameWith, UtteranceFile, dataset_counts, utterance_files
from storage.artifacts import ArtifactRef
from storage.receipts import Receipt
from storage.versions import Version
from unitlang.config import FrozenConfig

if TYPE_CHECKING:
    from pipelines.config.build import BuildConfig

SettingsT = TypeVar("SettingsT", bound=FrozenConfig)


@dataclass
class EntryChanges:
    """Numbers of entries of a new version, compared with its parent.

    Attributes:
        new: entries that the parent lacks.
        changed: entries with other audio, or of which other things are said.
        removed: entries of the parent that the new version lacks.
        gone: entries that no source lists any more and that stay.
        kept: unchanged entries, without those that are gone.
        mended: those of the changed entries whose audio is as before.
        healed: those of the changed entries that were rejects and are tried again.
        rejected: those of the new and changed entries that their source shows to be broken.
    """

    new: int = 0
    changed: int = 0
    removed: int = 0
    gone: int = 0
    kept: int = 0
    mended: int = 0
    healed: int = 0
    rejected: int = 0

    def __add__(self, other: "EntryChanges") -> "EntryChanges":
        return EntryChanges(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class BuildState:
    """Receipts and artifacts so far, and the version that the build starts from.

    Attributes:
        config: configuration of the build.
        session: runs the work units of the steps.
        parent: the last version of the corpus, if any.
        steps: receipts by step.
        artifacts: artifacts by kind.
        specs: fingerprint by artifact or step; the result of the parent version is kept while it is unchanged.
        changes: entries against those of the parent version.
        by_dataset: the same by dataset; known in the process that runs `ingest`.
        taken: work units of `ingest` of the parent version that a new one replaces, by fingerprint.
        origins: origins of the artifacts that were taken from another store, by kind; None = not recorded there.
    """

    config: "BuildConfig"
    session: Session
    parent: Version | None
    steps: dict[str, list[Receipt]] = field(default_factory=dict[str, list[Receipt]])
    artifacts: dict[str, ArtifactRef] = field(default_factory=dict[str, ArtifactRef])
    specs: dict[str, str] = field(default_factory=dict[str, str])
    changes: EntryChanges = field(default_factory=EntryChanges)
    taken: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    origins: dict[str, CameWith | None] = field(default_factory=dict[str, "CameWith | None"])
    by_dataset: dict[str, EntryChanges] = field(default_factory=dict[str, EntryChanges])

    @property
    def utterance_files(self) -> list[UtteranceFile]:
        """The utterance files, those of the parent version first."""
        return utterance_files(self.steps["ingest"])

    @property
    def dataset_samples(self) -> dict[str, int]:
        """Length of each dataset in samples at 16 kHz."""
        totals: dict[str, int] = {}
        for name, counts in dataset_counts(self.steps["ingest"]):
            totals[name] = totals.get(name, 0) + counts["samples"]
        return totals

    def settings(self, step: str, kind: type[SettingsT]) -> SettingsT:
        """The section of the config that belongs to a step.

        Args:
            step: name of the step.
            kind: type of its settings.

        Raises:
            TypeError: the step has settings of another type.
        """
        found = getattr(self.config, step)
        if not isinstance(found, kind):
            raise TypeError(f"the settings of step {step} are {type(found).__name__}, not {kind.__name__}")
        return found

    def parent_receipts(self, step: str) -> Sequence[Receipt]:
        """The parent version's receipts of a step; empty if there is no parent, or it did not run the step."""
        return self.parent.steps.get(step, ()) if self.parent else ()

    def matches_parent(self, name: str, spec: str, earlier: Collection[str] = ()) -> bool:
        """Record the spec of an artifact or step; return whether the parent version has the same one.

        Args:
            name: kind of the artifact, or name of the step.
            spec: fingerprint of the configuration.
            earlier: what it was under earlier revisions of the step; such a one of the parent version stays, unless the
                step is to be computed again.
        """
        before = self.parent.lineage["specs"].get(name) if self.parent is not None else None
        stays = before in earlier and not self.recomputes(name)
        self.specs[name] = before if before is not None and stays else spec
        return before == self.specs[name]

    def recomputes(self, step: str) -> bool:
        """Whether work that earlier revisions of a step have done is to be done again."""
        return step in self.config.recompute
