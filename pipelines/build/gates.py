"""Gates: find a version that differs too much from the last accepted one and needs approval by a person."""

from collections.abc import Iterator

from pipelines.build.statistics import DatasetStatistics, from_version, overall
from pipelines.config.gates import GatesConfig
from storage.versions import Version


def needs_look(gates: GatesConfig, before: Version | None, now: Version) -> list[str]:
    """One sentence for each gate that the new version fails; empty if there is no version to compare with.

    Args:
        gates: the largest accepted changes.
        before: the last accepted version.
        now: the version to be committed.
    """
    return [] if before is None else list(_moves(gates, before, now))


def _moves(gates: GatesConfig, before: Version, now: Version) -> Iterator[str]:
    old, new = (overall(from_version(version.statistics)) for version in (before, now))
    since = f"since version {before.number}"
    shares = _reject_ratio(before, old), _reject_ratio(now, new)
    if gates.reject_ratio is not None and abs(shares[1] - shares[0]) > gates.reject_ratio:
        yield f"reject ratio went from {shares[0]:.2%} to {shares[1]:.2%} {since} (gate {gates.reject_ratio:.2%})"
    metrics = (
        ("hours", gates.hours, old.hours, new.hours),
        ("compression", gates.compression, old.compression.total_ratio, new.compression.total_ratio),
    )
    for name, gate, was, is_ in metrics:
        if gate is not None and abs(is_ - was) > gate * was:
            yield f"{name} went from {was:,.3f} to {is_:,.3f} {since} (gate {gate:.1%})"


def _reject_ratio(version: Version, statistics: DatasetStatistics) -> float:
    return sum(statistics.rejects.values()) / max(1, version.statistics["entries"])
