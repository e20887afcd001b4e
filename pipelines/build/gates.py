"""Gates: how far a version may move from the last accepted one before a person should look at it."""

from collections.abc import Iterator

from pydantic import Field

from pipelines.build.statistics import DatasetStatistics, from_manifest, overall
from storage.manifests import Manifest
from unitlang.config import FrozenConfig


class GatesConfig(FrozenConfig):
    """By how much a new version may differ from the last accepted one; a gate that is not set is open."""

    reject_ratio: float | None = Field(default=None, ge=0.0, le=1.0, allow_inf_nan=False)
    """Most that the share of rejected entries may rise or fall by, as a difference: 0.01 lets 1 % become 2 %."""
    hours: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Most that the hours of speech may grow or shrink by, as a share of what they were."""
    compression: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Most that frames/words may grow or shrink by, as a share of what it was."""


def needs_look(gates: GatesConfig, before: Manifest | None, now: Manifest) -> list[str]:
    """What moved too far, a sentence each; empty where nothing did or there is nothing to compare with.

    Args:
        gates: what may move how far.
        before: the last accepted version.
        now: the version to be committed.
    """
    return [] if before is None else list(_moves(gates, before, now))


def _moves(gates: GatesConfig, before: Manifest, now: Manifest) -> Iterator[str]:
    old, new = (overall(from_manifest(manifest.statistics)) for manifest in (before, now))
    since = f"since version {before.version}"
    shares = _reject_ratio(before, old), _reject_ratio(now, new)
    if gates.reject_ratio is not None and abs(shares[1] - shares[0]) > gates.reject_ratio:
        yield f"reject ratio went from {shares[0]:.2%} to {shares[1]:.2%} {since} (gate {gates.reject_ratio:.2%})"
    measures = (
        ("hours", gates.hours, old.hours, new.hours),
        ("compression", gates.compression, old.compression.total_ratio, new.compression.total_ratio),
    )
    for name, gate, was, is_ in measures:
        if gate is not None and abs(is_ - was) > gate * was:
            yield f"{name} went from {was:,.3f} to {is_:,.3f} {since} (gate {gate:.1%})"


def _reject_ratio(manifest: Manifest, statistics: DatasetStatistics) -> float:
    return sum(statistics.rejects.values()) / max(1, manifest.statistics["entries"])
