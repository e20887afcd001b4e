"""The state of a build between its steps."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pipelines.engine.session import Session
from pipelines.records import (
    CameWith,
    UtteranceFile,
    dataset_counts,
    datasets_of,
    earlier_names_of,
    suppression_of,
    utterance_files,
)
from storage.artifacts import ArtifactRef
from storage.receipts import Receipt
from storage.suppression.names import Names, names_after
from storage.versions import Version
from unitlang.config import FrozenConfig

if TYPE_CHECKING:
    from pipelines.config.build import BuildConfig

SettingsT = TypeVar("SettingsT", bound=FrozenConfig)


@dataclass
class EntryChanges:
    """Numbers of entries of a build, compared with the parent version.

    An entry that the sources list is counted once, as new, changed, mended, healed or kept.

    Attributes:
        new: entries that the parent lacks.
        changed: entries with other audio: other bytes, another segment or another channel.
        mended: entries with the same audio, of which other things are said.
        healed: entries that the parent rejected and this build does not.
        gone: entries that no source lists any more and that stay.
        removed: entries of the parent that are left out.
        kept: unchanged entries, without those that are gone.
        suppressed: entries that were withdrawn, and so are neither rows nor rejects.
        rejected: rejects among the entries that the sources list; each of them is also one of the others.
    """

    new: int = 0
    changed: int = 0
    mended: int = 0
    healed: int = 0
    gone: int = 0
    removed: int = 0
    kept: int = 0
    suppressed: int = 0
    rejected: int = 0

    @property
    def words(self) -> dict[str, int]:
        """The counts by what people call them."""
        return {
            "new": self.new,
            "changed": self.changed,
            "mended": self.mended,
            "healed": self.healed,
            "removed": self.removed,
            "gone from the sources but kept": self.gone,
            "kept": self.kept,
            "suppressed": self.suppressed,
            "rejected": self.rejected,
        }

    def __str__(self) -> str:
        """For people: `2 new, 1 mended, 20 kept`; numbers of zero are left out, except those of new and kept."""
        shown = {name: count for name, count in self.words.items() if count or name in ("new", "kept")}
        return ", ".join(f"{count:,} {name}" for name, count in shown.items())


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
        taken: work units of `ingest` of the parent version that a new one replaces, by fingerprint.
        origins: origins of the artifacts that were taken from another store, by kind; None = not recorded there.
        suppression: names of the suppression lists that `ingest` used.
        listed: whether the sources are listed; otherwise only what is suppressed goes.
        gone: keys of the entries that no source lists any more and that stay, by dataset.
        retried: what differs (`changed` or `mended`) of entries that the parent version rejected, by their new keys;
            `kept` = nothing, they are only tried again.
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
    suppression: list[str] = field(default_factory=list[str])
    listed: bool = True
    gone: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    retried: dict[str, str] = field(default_factory=dict[str, str])

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

    @property
    def parent_suppression(self) -> Sequence[str]:
        """Names of the suppression lists that the parent version was made with."""
        return suppression_of(self.parent) if self.parent else ()

    @property
    def earlier_names(self) -> Names:
        """Earlier names of the datasets, for the lists in `suppression`."""
        sources = self.config.sources
        renamed = {source.renamed_from: source.dataset for source in sources if source.renamed_from}
        before = earlier_names_of(self.parent) if self.parent else {}
        held = datasets_of(self.parent) if self.parent else set[str]()
        taken = {source.dataset for source in sources} | (held - renamed.keys())
        return names_after(before, renamed, taken, self.suppression)
