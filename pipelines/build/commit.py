"""The last act of a build: accounts, statistics, and the manifest that makes the new version visible."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version as package_version
from typing import Any, cast

from pipelines.build.accounts import check_accounts
from pipelines.build.gates import needs_look
from pipelines.build.statistics import ByDataset, Coding, counted_steps, from_manifest, gather, overall
from pipelines.config.build import BuildConfig
from pipelines.engine.rejects import check_rejects
from pipelines.engine.state import BuildState
from pipelines.records import CameWith, Lineage, VersionStatistics, statistics_of
from pipelines.steps.fit_quantizer import frame_grid
from pipelines.steps.fit_unit_language import load_unit_language
from storage.approvals import last_accepted
from storage.artifacts import ArtifactRef
from storage.errors import CommitConflict
from storage.manifests import Manifest, commit, load

PACKAGES = ("echox", "av", "faiss-cpu", "numpy", "pyarrow", "scipy", "sentencepiece", "torch", "torchaudio")
"""Packages that values depend on; a version's lineage records which versions of them made it."""


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Attributes:
        manifest: the corpus version.
        new: whether this build made it; otherwise nothing had changed.
        kept: its entries that the version before has as they are.
        added: its new entries.
    """

    manifest: Manifest
    new: bool
    kept: int
    added: int

    @classmethod
    def of(cls, manifest: Manifest, parent: Manifest | None) -> "Built":
        """The result of a build that began at `parent` and ended at `manifest`, which may be the same."""
        before = {receipt.fingerprint for receipt in parent.steps["ingest"]} if parent else set[str]()
        rows = {True: 0, False: 0}
        for receipt in manifest.steps["ingest"]:
            rows[receipt.fingerprint in before] += receipt.rows_in
        return cls(manifest, manifest is not parent, kept=rows[True], added=rows[False])


def finish(build: BuildState) -> Built:
    """Check that every utterance is accounted for, then commit; nothing is committed when nothing changed.

    Raises:
        UserError: more rejects than allowed.
        CommitConflict: another build committed first.
    """
    parent = build.parent
    if parent and (parent.steps, parent.artifacts, parent.lineage["specs"]) == (
        build.steps,
        build.artifacts,
        build.specs,
    ):
        return Built.of(parent, parent)
    check_accounts(build.steps)
    check_rejects(build.session.store, build.steps, build.config.max_reject_ratio)
    with build.session.console.status("statistics and commit"):
        return Built.of(_commit(build), parent)


def _commit(build: BuildState) -> Manifest:
    """The next version; that of another build where it is the very same."""
    store = build.session.store
    manifest = assemble(build)
    review = needs_look(build.config.gates, last_accepted(store, build.parent), manifest)
    try:
        return commit(store, replace(manifest, review=review))
    except CommitConflict:
        other = load(store, manifest.version)
        if (other.steps, other.artifacts) == (manifest.steps, manifest.artifacts):
            return other  # this build's own commit before it was killed, or that of a twin
        raise


def assemble(build: BuildState) -> Manifest:
    """The manifest of the next version, with its statistics."""
    parent, steps = build.parent, build.steps
    datasets = dataset_statistics(build)
    number = parent.version + 1 if parent else 1
    shards = [statistics_of(receipt) for receipt in steps["shard"]]
    statistics = VersionStatistics(
        entries=sum(receipt.rows_in for receipt in steps["ingest"]),
        datasets={name: statistics.to_dict() for name, statistics in datasets.items()},
        examples=_sum(shard.get("examples", {}) for shard in shards),
        unused=_sum(shard.get("unused", {}) for shard in shards),
    )
    lineage = Lineage(
        specs=build.specs,
        versions={name: package_version(name) for name in PACKAGES},
        came_with=came_with(parent, build.artifacts, number, overall(datasets).samples),
    )
    return Manifest(
        version=number,
        parent=parent.version if parent else None,
        steps=steps,
        artifacts=build.artifacts,
        config=recorded_config(build.config),
        lineage=cast(dict[str, Any], lineage),
        statistics=cast(dict[str, Any], statistics),
    )


def dataset_statistics(build: BuildState) -> ByDataset:
    """Statistics by dataset; only receipts that the parent version lacks are counted, where it lost none."""
    store, parent, steps = build.session.store, build.parent, build.steps
    coding = Coding(
        load_unit_language(store, build.artifacts["unit_language"].fingerprint),
        frame_grid(store, build.artifacts["quantizer"].fingerprint),
    )
    names = counted_steps(steps)
    old = {name: {r.fingerprint for r in parent.steps.get(name, ())} if parent else set[str]() for name in names}
    grown = all(old[name] <= {receipt.fingerprint for receipt in steps[name]} for name in names)
    if parent is None or not grown:
        return gather(store, {name: steps[name] for name in names}, coding, {})
    new = {name: [r for r in steps[name] if r.fingerprint not in old[name]] for name in names}
    return gather(store, new, coding, from_manifest(parent.statistics))


def came_with(
    parent: Manifest | None, artifacts: Mapping[str, ArtifactRef], number: int, samples: int
) -> dict[str, CameWith]:
    """By artifact, the version that it first appeared in, and how much speech that version held.

    A version must not depend on the files of others, so the entries of kept artifacts are copied. The parent may lack
    them, where an older program wrote it.

    Args:
        parent: the version before, if any.
        artifacts: of the new version.
        number: of the new version.
        samples: speech in the new version, in samples at 16 kHz.
    """
    origins: dict[str, CameWith] = {}
    for name, ref in artifacts.items():
        if parent is None or parent.artifacts.get(name) != ref:
            origins[name] = CameWith(version=number, samples=samples)
        elif name in parent.lineage.get("came_with", {}):
            origins[name] = parent.lineage["came_with"][name]
    return origins


def recorded_config(config: BuildConfig) -> dict[str, Any]:
    """The part of the config that decides what the corpus is, as JSON values."""
    return config.model_dump(mode="json", exclude={"store", "run", "refit", "max_reject_ratio", "gates"})


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    return dict(sorted(total.items()))
