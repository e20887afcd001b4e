"""Finish a build: check its accounts, compute its statistics and commit the new version."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version as package_version
from types import MappingProxyType
from typing import Any, cast

from pipelines.build.accounts import check_accounts, gone_counts, settled
from pipelines.build.gates import needs_look
from pipelines.build.statistics import (
    ByDataset,
    Coding,
    counted_steps,
    from_version,
    gather,
    overall,
    version_statistics,
    without,
)
from pipelines.config.build import BuildConfig
from pipelines.engine.crashes import sweep
from pipelines.engine.state import BuildState, EntryChanges
from pipelines.entries.roots import roots_of
from pipelines.records import CameWith, Lineage, Receipts, UsedSuppression, left_out_of
from pipelines.sources.digests import put_digests, read_heard
from pipelines.sources.duplicates import Heard, heard_by, rejects_duplicates, shared_audio
from pipelines.steps.fit_quantizer import frame_grid
from pipelines.steps.fit_unit_language import load_unit_language
from storage.approvals import last_accepted, status
from storage.artifacts import ArtifactRef
from storage.collecting.marks import at_work
from storage.errors import CommitConflict, CorruptStore, NotFound
from storage.receipts import Receipt
from storage.verify import check_complete
from storage.versions import Version, commit, load

PACKAGES = ("echox", "av", "faiss-cpu", "numpy", "pyarrow", "scipy", "sentencepiece", "torch", "torchaudio")
"""Packages that affect the values; the lineage of a version records their versions."""


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Attributes:
        version: the corpus version.
        new: true if this build committed it; false if nothing had changed.
        changes: entries against those of the parent version.
    """

    version: Version
    new: bool
    changes: EntryChanges

    @property
    def step(self) -> str:
        """Numbers of the version before and of this one, for instance `1 -> 2`."""
        parent = self.version.parent
        return f"{self.version.number}" if parent is None or not self.new else f"{parent} -> {self.version.number}"


def finish(build: BuildState) -> Built:
    """Check that every utterance is accounted for, then commit, unless nothing changed since the parent version.

    Raises:
        CommitConflict: another build committed first.
        StorageError: the store cannot be read or written.
        AssertionError: a step lost or duplicated an utterance.
    """
    sweep(build.session.store)
    changes = settled(build)
    if build.parent is not None and is_up_to_date(build):
        return Built(build.parent, False, changes)
    check_accounts(build.steps)
    with build.session.console.status("statistics and commit"):
        return Built(_commit(build), True, changes)


def _judged_otherwise(build: BuildState, parent: Version) -> bool:
    """Return whether the gates judge the same tables otherwise, because the sources list other entries than before.

    Then a new version records that, so that a person sees it, and can approve it once.
    """
    gone = sum(map(len, build.gone.values()))
    if gone == sum(counts["entries"] for counts in parent.statistics.get("gone", {}).values()):
        return False
    store, gates = build.session.store, build.config.gates
    tripped = bool(needs_look(gates, last_accepted(store, parent), assemble(build, heard_in(build))))
    return tripped or status(store, parent) == "candidate"


def is_up_to_date(build: BuildState) -> bool:
    """Whether a build after its last step has nothing to commit: its parent version has all, and is judged the same."""
    parent = build.parent
    if parent is None:
        return False
    before = parent.steps, parent.artifacts, parent.lineage["specs"], list(build.parent_suppression)
    same = before == (build.steps, build.artifacts, build.specs, build.suppression)
    return same and not _judged_otherwise(build, parent)


def _commit(build: BuildState) -> Version:
    """Commit the next version; return that of another build if it is identical."""
    store = build.session.store
    heard = heard_in(build)
    version = assemble(build, heard)
    review = needs_look(build.config.gates, last_accepted(store, build.parent), version)
    try:
        with at_work(store, "never"):
            check_complete(store, version)
            # What is suppressed since must not stay in lists that are shared.
            shared = build.parent if {*build.suppression} <= {*build.parent_suppression} else None
            entries = put_digests(store, version.steps["ingest"], shared, roots_of(build.config.sources), heard)
            return commit(store, replace(version, review=review, entries=entries), build.parent)
    except CommitConflict:
        other = load(store, version.number)
        if (other.steps, other.artifacts) == (version.steps, version.artifacts):
            return other  # this build committed before it was killed, or an identical build did
        raise


def heard_in(build: BuildState) -> dict[str, Heard]:
    """Which audio the utterances are; nothing if the version rejects those that share it, for then none do.

    Raises:
        StorageError: a file of utterances that the parent version does not have cannot be read.
    """
    if rejects_duplicates(build.steps):
        return {}
    store = build.session.store
    return heard_by(store, build.steps["ingest"], read_heard(store, build.parent))


def assemble(build: BuildState, heard: Mapping[str, Heard]) -> Version:
    """The next version, with its statistics.

    Args:
        build: the build after its last step.
        heard: see `heard_in`.

    Raises:
        StorageError: an output or artifact cannot be read from the store.
    """
    parent, steps = build.parent, build.steps
    datasets = dataset_statistics(build)
    number = parent.number + 1 if parent else 1
    statistics = version_statistics(steps, datasets, shared_audio(heard.values()))
    if gone := gone_counts(build):
        statistics["gone"] = gone
    lineage = Lineage(
        specs=build.specs,
        versions={name: package_version(name) for name in PACKAGES},
        came_with=came_with(parent, build.artifacts, number, overall(datasets).samples, build.origins),
    )
    if build.suppression:
        before = left_out_of(parent) if parent and not build.listed else 0
        lineage["suppressed"] = UsedSuppression(lists=build.suppression, left_out=before + build.changes.suppressed)
    if names := build.earlier_names:
        lineage["renamed"] = names
    return Version(
        number=number,
        parent=parent.number if parent else None,
        steps=steps,
        artifacts=build.artifacts,
        config=recorded_config(build.config),
        lineage=cast(dict[str, Any], lineage),
        statistics=cast(dict[str, Any], statistics),
    )


def dataset_statistics(build: BuildState) -> ByDataset:
    """Statistics by dataset.

    Only tables that differ from those of the parent version are read: the counts of those that are gone are taken away
    from its statistics, and those of the new ones are added.

    Raises:
        StorageError: an output or artifact cannot be read from the store.
    """
    store, parent = build.session.store, build.parent
    coding = Coding(
        load_unit_language(store, build.artifacts["unit_language"].fingerprint),
        frame_grid(store, build.artifacts["quantizer"].fingerprint),
    )
    counted = {name: build.steps[name] for name in counted_steps(build.steps)}
    if parent is None or parent.artifacts != build.artifacts:
        return gather(store, counted, coding, {})
    before = {name: parent.steps.get(name, []) for name in counted}
    gone, new = _besides(before, counted), _besides(counted, before)
    if sum(map(len, (*gone.values(), *new.values()))) > sum(map(len, counted.values())):
        return gather(store, counted, coding, {})
    try:
        left = without(from_version(parent.statistics), gather(store, gone, coding, {}))
    except (ValueError, NotFound, CorruptStore):  # another program counted otherwise, or files of the parent are lost
        return gather(store, counted, coding, {})
    return gather(store, new, coding, left)


def _besides(steps: Receipts, others: Receipts) -> dict[str, list[Receipt]]:
    """The receipts of steps whose work units others lack."""
    known = {name: {receipt.fingerprint for receipt in receipts} for name, receipts in others.items()}
    return {
        name: [receipt for receipt in receipts if receipt.fingerprint not in known[name]]
        for name, receipts in steps.items()
    }


def came_with(
    parent: Version | None,
    artifacts: Mapping[str, ArtifactRef],
    number: int,
    samples: int,
    given: Mapping[str, CameWith | None] = MappingProxyType({}),
) -> dict[str, CameWith]:
    """Origin of each artifact: the version in which it first appeared, and the speech of that version.

    Entries of kept artifacts are copied, because a version must not depend on the files of another. A parent version
    that an older program wrote may lack them.

    Args:
        parent: the parent version, if any.
        artifacts: artifacts of the new version.
        number: number of the new version.
        samples: speech in the new version, in samples at 16 kHz.
        given: origins of the artifacts that were taken from another store; None = not recorded there.
    """
    origins: dict[str, CameWith] = {}
    for name, ref in artifacts.items():
        if parent is not None and parent.artifacts.get(name) == ref:
            origin: CameWith | None = parent.lineage.get("came_with", {}).get(name)
        else:
            origin = given.get(name, CameWith(version=number, samples=samples))
        if origin is not None:
            origins[name] = origin
    return origins


def recorded_config(config: BuildConfig) -> dict[str, Any]:
    """The fields of the config that affect the corpus, as JSON values."""
    return config.model_dump(mode="json", exclude={"store", "run", "refit", "recompute", "max_reject_ratio", "gates"})
